"""A word cloud as SVG: the more often, the larger. wordcloud is imported here."""

import zlib
from collections.abc import Mapping
from typing import Any

WIDTH, HEIGHT = 640, 320
MAX_WORDS = 60
# Mid tones, which large text may have on light paper and on dark.
COLOURS = ("#c8402a", "#2f7f86", "#a8641a", "#6b6fc4", "#3f8a4e", "#b04a86")
EMPTY = b'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320"/>'


def draw(counts: Mapping[str, int]) -> bytes:
    """Return an SVG picture of words, escaped, with its font inside.

    Args:
        counts: how often each word was seen; without one the picture is empty.
    """
    wanted = {word: count for word, count in counts.items() if word.strip() and count > 0}
    if not wanted:
        return EMPTY
    import wordcloud

    cloud = wordcloud.WordCloud(
        width=WIDTH,
        height=HEIGHT,
        mode="RGBA",
        background_color=None,
        max_words=MAX_WORDS,
        prefer_horizontal=1.0,
        color_func=_colour,
        random_state=0,
    )
    svg: str = cloud.generate_from_frequencies(wanted).to_svg(embed_font=True)
    return svg.encode("utf-8")


def _colour(word: str, **_more: Any) -> str:
    """A word keeps its colour, whatever else is seen."""
    return COLOURS[zlib.crc32(word.encode("utf-8")) % len(COLOURS)]
