"""Style and script of the report's page."""

from kerasformer.explain.coloring import AGAINST, FOR, STRONGEST

_SHADES = "".join(
    f".f{step}{{background:rgba({FOR},{STRONGEST * step / 5:.2f})}}"
    f".a{step}{{background:rgba({AGAINST},{STRONGEST * step / 5:.2f});text-decoration:underline dotted}}"
    for step in range(1, 6)
)

STYLE = (
    """
:root{color-scheme:light dark;--page:#fff;--card:#f6f7f9;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--blue:#2370c0;
--orange:#b35900;--bar:#6aa3dd}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2127;--ink:#e8eaed;--soft:#a3abb5;--line:#3a414a;
--blue:#6fb1f5;--orange:#f2a65a;--bar:#3f7fbf}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main{max-width:68rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.6rem;margin:1.5rem 0 .5rem;overflow-wrap:anywhere}h2{font-size:1.25rem;margin:0 0 .5rem}
h3{font-size:1rem;margin:.5rem 0}
section{padding:1.5rem 0;border-top:1px solid var(--line);scroll-margin-top:3rem}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:.5rem 0}
a{color:var(--blue)}small,figcaption,.legend{color:var(--soft);font-size:.85rem}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem .9rem;margin:.6rem 0}
article p{margin:.2rem 0}article ul{margin:.3rem 0 0;padding-left:1.1rem;color:var(--soft);font-size:.85rem}
.said{color:var(--soft);font-size:.85rem}.said b{color:var(--ink)}
.text{overflow-wrap:anywhere;white-space:pre-line}
.text i{font-style:normal;border-radius:3px;position:relative;cursor:default;padding:.05em .1em}
.text i:hover::after,.text i:focus::after{content:attr(data-s);position:absolute;left:50%;bottom:100%;
transform:translateX(-50%);background:var(--ink);color:var(--page);font-size:.75rem;padding:0 .4em;border-radius:4px;
white-space:nowrap;z-index:1;pointer-events:none}
.text i:focus{outline:2px solid var(--blue)}
.scale span{display:inline-block;width:1.1em;height:1em;vertical-align:-.15em;border:1px solid var(--line)}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:1rem 2rem}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.2rem .5rem;border-bottom:1px solid var(--line);vertical-align:middle}
thead th{color:var(--soft);font-weight:600;font-size:.8rem}
.kind th{background:var(--card);color:var(--soft);font-size:.8rem;text-transform:capitalize}
td{overflow-wrap:anywhere}.wide{overflow-x:auto}.wide td,.wide th{white-space:nowrap}
.bar{width:40%}.bar span{display:block;height:.8em;background:var(--bar);border-radius:2px;min-width:1px}
figure{margin:0}svg{width:100%;max-width:32rem;height:auto;display:block}
.whisker{width:144px;height:12px;max-width:none}td small{display:block;white-space:nowrap}
svg text{fill:var(--soft);font-size:12px}.grid{stroke:var(--line)}.even{stroke:var(--soft);stroke-dasharray:4 4}
.curve{stroke:var(--blue);fill:none;stroke-width:2}.dot{fill:var(--blue)}
.curve.c1{stroke:var(--orange);stroke-dasharray:6 4}.dot.c1{fill:var(--orange)}
.key{display:inline-block;width:1.4em;border-top:3px solid var(--blue);vertical-align:middle;margin:0 .3em 0 .8em}
.key.c1{border-top:3px dashed var(--orange)}
.heads{width:auto}.heads td{padding:2px;border:0}.heads th{border:0}
.heads img{width:72px;height:72px;image-rendering:pixelated;border:1px solid var(--line);background:var(--page);
display:block}
.tokens code{font-size:.75rem;color:var(--soft)}code{overflow-wrap:anywhere}
"""
    + _SHADES
)

# One stop of the Tab key a text; arrows move between its words.
SCRIPT = """
for (const text of document.querySelectorAll(".text")) {
  const words = [...text.querySelectorAll("i[data-s]")];
  words.forEach((word, place) => {
    word.tabIndex = place ? -1 : 0;
    word.setAttribute("aria-label", word.textContent + " " + word.dataset.s);
    word.addEventListener("keydown", event => {
      const next = words[place + (event.key === "ArrowRight") - (event.key === "ArrowLeft")];
      if (next && next !== word) { event.preventDefault(); next.focus(); }
    });
  });
}
"""
