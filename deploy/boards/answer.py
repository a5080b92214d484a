"""What a command on a board came to, and text from a board made fit for a terminal."""

from dataclasses import dataclass

MAX_REASON_CHARACTERS = 200


@dataclass(frozen=True)
class Answer:
    """What a command came to: its exit status, and the first MAX_OUTPUT_BYTES of what it wrote."""

    status: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The last line it wrote, the errors before the output, fit for a terminal."""
        lines = [line for text in (self.err, self.out) for line in text.strip().splitlines()[-1:]]
        return clean(lines[0]) if lines else f"exit status {self.status}"


def clean(text: str) -> str:
    """Return what a board wrote as one short line that does nothing to a terminal."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown.strip()[:MAX_REASON_CHARACTERS]
