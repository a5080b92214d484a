# Each target is one line that calls scripts/; `make demo` and `make test` set everything up by themselves.
.PHONY: demo test check bench fuzz torture board board-test deb setup clean

demo:    ; scripts/demo.sh $(if $(QUICK),--quick)
test:    ; scripts/test.sh
check:   ; scripts/check.sh
bench:   ; scripts/bench.sh
fuzz:    ; scripts/fuzz.sh
torture: ; scripts/torture.sh
board:   ; scripts/board.sh
board-test: ; scripts/board_test.sh
deb:     ; scripts/deb.sh
setup:   ; scripts/setup.sh test
clean:   ; rm -rf .venv .venv37 .venv-tf25 .venv-peers demo-out build
