// What happens in the browser alone: the list's address, and keys. Keys click the link that does the same by mouse.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.splat = {
  listChanged(q, state) {
    const url = new URL(location);
    for (const [name, value] of [["q", q], ["state", state]]) {
      value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    }
    history.replaceState(history.state, "", url);
    const grid = dash_ag_grid.getApi("features-grid");
    if (grid) {
      if (grid.getDisplayedRowCount()) grid.ensureIndexVisible(0, "top");
      grid.purgeInfiniteCache();
    }
    return dash_clientside.no_update;
  },
};

(() => {
  const typing = (target) => target.closest && target.closest("input, textarea, select, [contenteditable], .ag-cell-inline-editing");
  const click = (selector) => { const found = document.querySelector(selector); if (found) found.click(); return Boolean(found); };
  const sheet = () => document.getElementById("help-sheet");
  const step = (by) => {
    const tabs = [...document.querySelectorAll('nav[aria-label="Evidence"] .choice')];
    const at = tabs.findIndex((tab) => tab.classList.contains("chosen"));
    const next = tabs[at + by];
    if (next) next.click();
  };
  const keys = {
    j: () => click(".to-next"),
    k: () => click(".to-previous"),
    "]": () => step(1),
    "[": () => step(-1),
    "?": () => sheet().showModal(),
    "/": () => { const box = document.getElementById("features-q"); if (box) box.focus(); else click('.shell nav a[href="/"]'); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target) || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("click", (event) => {
    if (event.target.id === "help-button") sheet().showModal();
    else if (event.target.id === "help-sheet") sheet().close();
  });
})();
