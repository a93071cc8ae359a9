"""Text that would run as a script wherever it is not shown as text. Each of them calls ``alert``.

After the kinds in OWASP's "Cross Site Scripting Filter Evasion Cheat Sheet", and what Markdown and htmx add to them.
"""

from __future__ import annotations

PLAIN = (
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=x onerror=alert(1)//",
    "<IMG SRC=x OnErRoR=&#97;lert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<body onload=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<math><mtext></form><form><mglyph><svg><mtext><style><path id=</style><img src onerror=alert(1)>",
    "<noscript><p title=</noscript><img src=x onerror=alert(1)>",
    "<a href=javascript:alert(1)>here</a>",
    "<base href=javascript:/a/-alert(1)//>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<link rel=stylesheet href=data:,*{x:expression(alert(1))}>",
    "<style>@import'javascript:alert(1)';</style>",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "` onclick=alert(1) `",
    "{{ alert(1) }}{% alert(1) %}${alert(1)}",
    "<div hx-on::load='alert(1)' hx-get=/ hx-trigger=load></div>",
    "<hx-partial hx-target=body><script>alert(1)</script></hx-partial>",
    "<template><script>alert(1)</script></template>",
    "\u202e<script>alert(1)</script>\u2028<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "<\uff53cript>alert(1)</\uff53cript>",
)
MARKDOWN = (
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:alert(1))",
    '[x](https://a.example "t\\" onmouseover=alert(1) x=\\"")',
    "![x](javascript:alert(1))",
    '![x" onerror="alert(1)](x)',
    "<javascript:alert(1)>",
    "[r]\n\n[r]: javascript:alert(1)",
    "```<script>alert(1)</script>\ncode</code></pre><script>alert(1)</script>\n```",
    "|a|\n|-|\n|<img src=x onerror=alert(1)>|",
    "# <img src=x onerror=alert(1)>",
    "- [ ] <svg/onload=alert(1)>",
)
# As somebody's computer may call a file.
FILE_NAMES = (
    *PLAIN,
    *MARKDOWN,
    "../../../etc/passwd",
    "..\\..\\boot.ini",
    "a\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>",
    'a"; filename="evil.html',
    "invoice\u202egpj.exe",
    "x](javascript:alert(1))",
    "%2e%2e%2fx%00.html?a#b",
    "." * 300,
)
EVERYTHING = (*PLAIN, *MARKDOWN)
