// The tabs of a page: one section at a time, by the hash of its address.

/** Show the section `tab-NAME` of the link `#NAME` in `#tabs` that the address names (what follows a
    `?` in the hash is the tab's own), the first where it names none. `fillers` have a function by name
    that fills a section when it is first shown; then, and whenever another tab is shown,
    `convscope:tab` tells its name. */
export function showTabs(fillers = {}) {
  const links = [...document.querySelectorAll("#tabs a[href^='#']")];
  const filled = new Set();
  function show() {
    const asked = links.find((link) => link.hash === location.hash.split("?")[0]);
    const shown = asked ?? links[0],
      name = shown.hash.slice(1);
    for (const link of links) {
      if (link === shown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      document.getElementById(`tab-${link.hash.slice(1)}`).hidden = link !== shown;
    }
    document.body.dataset.tab = name;
    if (!filled.has(name)) fillers[name]?.(document.getElementById(`tab-${name}`));
    filled.add(name);
    document.dispatchEvent(new CustomEvent("convscope:tab", { detail: name }));
  }
  addEventListener("hashchange", show);
  show();
}
