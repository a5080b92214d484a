"""HTML that cannot be broken by what it shows."""

from quantize.report.markup import Html, element, table

HOSTILE = '"><script>alert(1)</script>&'


def test_text_is_escaped_and_markup_is_not():
    """Only what we wrote ourselves is markup."""
    assert element("p", "a < b & c", Html("<b>!</b>")) == "<p>a &lt; b &amp; c\n<b>!</b></p>"


def test_attributes_are_escaped():
    """A quote does not end an attribute."""
    made = element("svg", aria_label=HOSTILE, class_="bar")
    assert made == (
        '<svg aria-label="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;" class="bar"></svg>'
    )


def test_a_table_tells_its_headings():
    """Column and row headings have their scope, the caption names the region."""
    made = table("Figures", ("Class", "Share"), [(HOSTILE, "1.00 %")])
    assert made.count('scope="col"') == 2 and made.count('scope="row"') == 1
    assert 'aria-label="Figures"' in made and "<caption>Figures</caption>" in made
    assert "<script>" not in made and '<td class="figure">1.00 %</td>' in made


def test_text_that_looks_like_a_cell_is_text():
    """Only markup of ours is taken as a ready cell."""
    assert "<td>&lt;td&gt;" in table("t", ("a", "b"), [("x", "<td>")])
