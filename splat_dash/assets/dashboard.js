// Browser-side behaviour: the address of the list, and keyboard shortcuts. A shortcut clicks the link that the mouse would.
window.dash_clientside = window.dash_clientside || {};
// The custom data of a clicked point, read from the plot itself: Dash does not read typed arrays.
const customData = (id, clicked) => {
  const at = clicked.points[0], plot = document.querySelector(`#${id} .js-plotly-plot`);
  return plot._fullData[at.curveNumber].customdata[at.pointNumber];
};
const go = (address) => {
  history.pushState({}, "", address);
  window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  window.scrollTo(0, 0);
};
const say = (text) => {
  const place = document.getElementById("message");
  place.textContent = text;
  clearTimeout(say.until);
  say.until = setTimeout(() => { place.textContent = ""; }, 4000);
};
// The feature for which the form of a label was made: the form itself carries it.
const featureOfForm = () => {
  const form = document.getElementById("label-form");
  return form ? Number(form.dataset.feature) : null;
};
window.dash_clientside.splat = {
  boxDrawn(chosen) {
    const url = new URL(location), range = chosen && chosen.range;
    if (url.pathname !== "/map" || (chosen && !range)) return dash_clientside.no_update;
    const box = range ? [...range.x, ...range.y].map((value) => +value.toPrecision(6)).join(",") : "";
    if (box === (url.searchParams.get("box") || "")) return dash_clientside.no_update;
    box ? url.searchParams.set("box", box) : url.searchParams.delete("box");
    history.replaceState(history.state, "", url);
    return box;
  },
  // The label form as shown on the screen: Dash may not have the last keystrokes yet.
  // Also the feature of the form, its origin as Dash holds it, and the address: the server saves nothing if they differ.
  typed(clicks, made, ...values) {
    const names = ["text", "category", "status", "confidence", "rule", "notes", "author"];
    const form = { clicks, made, feature: featureOfForm(), address: location.pathname };
    names.forEach((name, at) => {
      const box = ["category", "status"].includes(name) ? null : document.getElementById("label-" + name);
      form[name] = box && "value" in box ? box.value : values[at];
    });
    if (form.confidence !== "" && form.confidence != null) form.confidence = +form.confidence;
    return form;
  },
  // The answer to a form: shown on the page of its feature; any other page only shows a notice.
  answered(answer, made) {
    const keep = dash_clientside.no_update;
    if (!answer || answer.feature !== featureOfForm() || answer.feature !== made.feature) {
      if (answer) say(`Feature ${answer.feature}: ${answer.notice}`);
      return [keep, keep, keep, keep, keep];
    }
    const of = "based_on" in answer ? { ...made, based_on: answer.based_on } : keep;
    return [answer.now ?? keep, answer.shown, of, answer.history ?? keep, answer.name ?? keep];
  },
  // The typed text, after a pause.
  written(text) {
    const mine = (dash_clientside.splat.nth = (dash_clientside.splat.nth || 0) + 1);
    return new Promise((resolve) => setTimeout(() => resolve(mine === dash_clientside.splat.nth ? text : dash_clientside.no_update), 120));
  },
  // The drop without each ability, by row and badge: [text, share in percent], or null.
  showDrops(rows) {
    const shown = document.querySelectorAll("#examples tbody tr");
    (rows || []).forEach((row, at) => row.forEach((drop, nth) => {
      const badge = drop && shown[at] && shown[at].querySelectorAll(".badge")[nth];
      if (!badge) return;
      badge.style.setProperty("--lost", drop[1] + "%");
      badge.title += drop[0];
      badge.querySelector(".unseen").textContent += drop[0];
    }));
    return rows && rows.some((row) => row.some(Boolean))
      ? "Line below an ability: share of the activation lost when only this ability is removed and the model is run again. Hover for the value."
      : dash_clientside.no_update;
  },
  openOnMap(clicked) {
    if (clicked) go("/f/" + clicked.points[0].pointNumber);
    return dash_clientside.no_update;
  },
  addressChanged(address) {
    if (address && location.pathname === "/whatif") history.replaceState(history.state, "", address);
    return dash_clientside.no_update;
  },
  openBar(clicked) {
    if (clicked) {
      const [low, high] = customData("feature-histogram", clicked), url = new URL(location);
      for (const name of ["tab", "group", "x"]) url.searchParams.delete(name);
      url.searchParams.set("min", low);
      url.searchParams.set("max", high);
      go(url);
    }
    return dash_clientside.no_update;
  },
  openPoint(clicked) {
    if (clicked) go("/f/" + customData("home-spread", clicked));
    return dash_clientside.no_update;
  },
  listChanged(q, state) {
    const url = new URL(location);
    for (const [name, value] of [["q", q], ["state", state]]) {
      value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    }
    history.replaceState(history.state, "", url);
    document.getElementById("features-file").href = "/api/features.csv" + url.search;
    // Input before the grid has loaded is applied once it has.
    dash_ag_grid.getApiAsync("features-grid").then((grid) => {
      if (grid.getDisplayedRowCount()) grid.ensureIndexVisible(0, "top");
      grid.purgeInfiniteCache();
    });
    return dash_clientside.no_update;
  },
};

// Connection status: a notice while the dashboard does not answer, with a retry every two seconds.
(() => {
  const request = window.fetch.bind(window);
  // lost: no answer. left: the page of the address did not load, the old page is still shown. refused: a status.
  const state = { lost: false, left: false, refused: 0 };
  const sentence = () => {
    if (state.lost) return "The dashboard does not answer. This page may be out of date; nothing is saved until it answers again. Unsaved label text is kept.";
    if (state.left) return "The dashboard answers again, but this page does not match its address. Unsaved label text is kept. ";
    if (state.refused) return `The dashboard rejected a request of this page (status ${state.refused}): page and dashboard are of different versions. Unsaved label text is kept. `;
    return "";
  };
  const note = (changes) => {
    if (changes.lost && !state.lost) setTimeout(look, 2000);
    const before = sentence();
    Object.assign(state, changes);
    const place = document.getElementById("connection"), text = sentence();
    if (!place || text === before) return;
    place.className = text ? "alert" : "";
    place.replaceChildren(text);
    if (!text || state.lost) return;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "plain-button reload";
    again.textContent = "Reload";
    place.append(again);
  };
  const look = () => request("/_favicon.ico", { cache: "no-store" }).then(() => note({ lost: false }), () => setTimeout(look, 2000));
  window.fetch = (resource, options) => {
    const sent = options && typeof options.body === "string" ? options.body : "", ofPage = sent.includes('"_pages_content"');
    return request(resource, options).then(
      (answer) => {
        const refused = sent && answer.status >= 400 ? answer.status : 0;
        note({ lost: false, ...(sent && { refused }), ...(ofPage && { left: Boolean(refused) }) });
        return answer;
      },
      (error) => { if (error.name !== "AbortError") note({ lost: true, ...(ofPage && { left: true }) }); throw error; },
    );
  };
})();

// Tables: `cells.drawn` sends them as data, this code renders them. Content is text, never markup.
(() => {
  const element = (name, kind, text) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text != null) made.textContent = text;
    return made;
  };
  const badge = ([text, name, kind, share]) => {
    const made = element("span", "badge " + kind);
    const seen = element("span", "", text);
    seen.setAttribute("aria-hidden", "true");
    made.append(seen, element("span", "unseen", name));
    made.title = name;
    if (share != null) made.style.setProperty("--ap", share);
    return made;
  };
  const cell = (content, above) => {
    const parts = typeof content === "string" ? { t: content } : content;
    const made = element(parts.th ? "th" : "td", parts.c);
    if (parts.th) made.scope = above ? "col" : "row";
    if (parts.i) made.title = parts.i;
    for (const [name, value] of Object.entries(parts.s || {})) made.style.setProperty(name, value);
    if (parts.b) made.append(...parts.b.map(badge));
    else if (parts.bar != null) {
      const whole = element("div", "with-bar"), bar = element("span", "bar " + (parts.c || ""));
      bar.style.setProperty("--share", parts.bar + "%");
      whole.append(bar, element("span", "number", parts.t));
      made.append(whole);
    } else if (parts.h) {
      const link = element("a", "", parts.t);
      link.href = parts.h;
      made.append(link);
    } else made.textContent = parts.t;
    return made;
  };
  const row = (content, above) => {
    const parts = Array.isArray(content) ? { cells: content } : content, made = element("tr", parts.c);
    if (parts.i) made.title = parts.i;
    if (parts.n != null) made.dataset.n = parts.n;
    made.append(...parts.cells.map((one) => cell(one, above)));
    return made;
  };
  // A row and its duplicates or near duplicates, which a button expands.
  const rows = (group) => {
    const first = row(group, false), others = (group.alike || []).map((cells) => row(cells, false));
    if (others.length) {
      const button = element("button", "plain-button alike", `+ ${others.length} ${group.equal ? "equal" : "similar"}`);
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      others.forEach((one) => { one.hidden = true; });
      button.addEventListener("click", () => {
        const shown = others[0].hidden;
        others.forEach((one) => { one.hidden = !shown; });
        button.setAttribute("aria-expanded", String(shown));
      });
      first.lastElementChild.append(" ", button);
    }
    return [first, ...others];
  };
  const draw = (place) => {
    if (place.drawn === place.dataset.table) return;
    place.drawn = place.dataset.table;
    const content = JSON.parse(place.drawn), table = element("table", content.kind), body = element("tbody");
    if (content.caption) table.append(element("caption", "", content.caption));
    if (content.head.length) {
      const head = element("thead");
      head.append(row(content.head, true));
      table.append(head);
    }
    body.append(...content.body.flatMap(rows));
    table.append(body);
    place.replaceChildren(table);
  };
  new MutationObserver(() => document.querySelectorAll("slot[data-table]").forEach(draw)).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["data-table"],
  });
  // A plain link within a table changes the page as a Dash link does, without a full reload.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("slot a[href]");
    if (!link || link.origin !== location.origin || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.href);
  });
})();

(() => {
  const typing = (target) => target.closest && target.closest("input, textarea, select, [contenteditable], .ag-cell-inline-editing");
  const click = (selector) => { const target = document.querySelector(selector); if (target) target.click(); return Boolean(target); };
  const sheet = () => document.getElementById("help-sheet");
  const step = (by) => {
    const tabs = [...document.querySelectorAll('nav[aria-label="Evidence"] .choice')];
    const at = tabs.findIndex((tab) => tab.classList.contains("chosen"));
    const next = tabs[at + by];
    if (next) next.click();
  };
  const copyLink = (anchor) => navigator.clipboard.writeText(anchor ? location.href.split("#")[0] + "#" + anchor : location.href).then(() => say("Link copied."), () => say("The browser did not allow copying."));
  // Pinned: one feature, kept until the browser tab is closed.
  const pinned = () => sessionStorage.getItem("splat-pinned");
  const showPinned = () => {
    const place = document.getElementById("pinned");
    if (!place) return;
    const here = document.getElementById("pin");
    const other = here && here.dataset.feature !== pinned() ? here.dataset.feature : null;
    const text = pinned() ? `pinned ${pinned()}` + (other ? `: compare with ${other}` : "") : "";
    if (place.dataset.text === text) return;
    place.dataset.text = text;
    place.replaceChildren();
    if (!text) return;
    const link = document.createElement("a");
    link.textContent = text;
    link.href = other ? `/compare?f=${pinned()},${other}` : `/f/${pinned()}`;
    place.append(link);
  };
  const pin = () => {
    const here = document.getElementById("pin");
    if (!here) return;
    if (pinned() && pinned() !== here.dataset.feature) { click("#pinned a"); return; }
    pinned() ? sessionStorage.removeItem("splat-pinned") : sessionStorage.setItem("splat-pinned", here.dataset.feature);
    showPinned();
  };
  new MutationObserver(showPinned).observe(document.documentElement, { childList: true, subtree: true });

  const edit = () => {
    const text = document.getElementById("label-text");
    if (!text) return;
    text.closest("details").open = true;
    text.focus();
  };
  // Expand a panel to the window, until Escape.
  const grow = (panel) => {
    const whole = panel.classList.toggle("whole");
    panel.querySelector(".grow").textContent = whole ? "collapse" : "expand";
    panel.querySelector(".grow").focus();
    window.dispatchEvent(new Event("resize"));
  };
  const picture = (panel, format) => {
    const plot = panel.querySelector(".js-plotly-plot");
    if (plot) Plotly.downloadImage(plot, { format, filename: panel.querySelector(".dash-graph").id, width: plot.clientWidth, height: plot.clientHeight, scale: 2 });
  };
  // Scroll to the panel of the address once it is loaded.
  const arrive = () => {
    const panel = location.hash.startsWith("#panel-") && document.getElementById(location.hash.slice(1));
    if (!panel || arrive.at === location.href) return;
    arrive.at = location.href;
    panel.scrollIntoView();
  };
  new MutationObserver(arrive).observe(document.documentElement, { childList: true, subtree: true });
  const places = { h: "/", f: "/features", m: "/map", w: "/whatif", t: "/tokens", l: "/labels", u: "/runs", a: "/about" };
  let going = 0;
  const keys = {
    j: () => click(".to-next"),
    k: () => click(".to-previous"),
    r: () => click(".to-random"),
    "]": () => step(1),
    "[": () => step(-1),
    e: edit,
    p: pin,
    c: () => copyLink(),
    g: () => { going = Date.now(); },
    "?": () => sheet().showModal(),
    "/": () => { const box = document.getElementById("features-q"); if (box) box.focus(); else click('.shell nav a[href="/features"]'); },
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const whole = document.querySelector(".panel.whole");
      if (whole) grow(whole);
      else if (typing(event.target)) event.target.blur();
      return;
    }
    if (event.key === "Enter" && event.ctrlKey && event.target.closest && event.target.closest("#label")) {
      event.preventDefault();
      event.target.blur();
      click("#label-save");
      return;
    }
    if (event.ctrlKey || event.altKey || event.metaKey || typing(event.target)) return;
    if (Date.now() - going < 1500 && places[event.key]) {
      going = 0;
      event.preventDefault();
      click(`.shell a[href="${places[event.key]}"]`);
      return;
    }
    const group = /^[1-9]$/.test(event.key) && document.querySelectorAll('nav[aria-label="Examples"] .choice')[event.key - 1];
    if (!group && !keys[event.key]) return;
    event.preventDefault();
    group ? group.click() : keys[event.key]();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button");
    if (event.target.id === "help-sheet") sheet().close();
    const menu = event.target.closest && event.target.closest(".menu");
    for (const open of document.querySelectorAll(".menu[open]")) if (open !== menu || button) open.open = false;
    if (!button) return;
    if (button.id === "help-button") sheet().showModal();
    else if (button.id === "copy-link") copyLink();
    else if (button.dataset.link) copyLink(button.dataset.link);
    else if (button.dataset.picture) picture(button.closest(".panel"), button.dataset.picture);
    else if (button.id === "pin") pin();
    else if (button.classList.contains("clear-search")) {
      dash_clientside.set_props("features-q", { value: "" });
      dash_clientside.set_props("features-state", { value: "" });
    }
    else if (button.classList.contains("reload")) location.reload();
    else if (button.classList.contains("grow")) grow(button.closest(".panel"));
  });
})();
