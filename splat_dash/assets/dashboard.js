// What happens in the browser alone: the list's address, and keys. Keys click the link that does the same by mouse.
window.dash_clientside = window.dash_clientside || {};
// What the point that was clicked stands for, from the plot itself: Dash does not read typed arrays.
const told = (id, clicked) => {
  const at = clicked.points[0], plot = document.querySelector(`#${id} .js-plotly-plot`);
  return plot._fullData[at.curveNumber].customdata[at.pointNumber];
};
const go = (address) => {
  history.pushState({}, "", address);
  window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
  window.scrollTo(0, 0);
};
const say = (text) => {
  const place = document.getElementById("told");
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
  // The form of a label as it stands on the screen: what was typed last may not have been told to Dash yet.
  // With it the feature of the form, what Dash has of it, and the address: the server saves nothing where they differ.
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
  // The answer to a form: shown on the page of its feature; another page that is there by now only has a notice of it.
  answered(answer, made) {
    const keep = dash_clientside.no_update;
    if (!answer || answer.feature !== featureOfForm() || answer.feature !== made.feature) {
      if (answer) say(`Feature ${answer.feature}: ${answer.notice}`);
      return [keep, keep, keep, keep, keep];
    }
    const of = "based_on" in answer ? { ...made, based_on: answer.based_on } : keep;
    return [answer.now ?? keep, answer.shown, of, answer.history ?? keep, answer.name ?? keep];
  },
  // What is being written, once its writer pauses.
  written(text) {
    const mine = (dash_clientside.splat.nth = (dash_clientside.splat.nth || 0) + 1);
    return new Promise((told) => setTimeout(() => told(mine === dash_clientside.splat.nth ? text : dash_clientside.no_update), 120));
  },
  // What is lost without each ability, row by row and badge by badge: [what is told, share in percent], or nothing.
  showLost(rows) {
    const shown = document.querySelectorAll("#examples tbody tr");
    (rows || []).forEach((row, at) => row.forEach((lost, nth) => {
      const badge = lost && shown[at] && shown[at].querySelectorAll(".badge")[nth];
      if (!badge) return;
      badge.style.setProperty("--lost", lost[1] + "%");
      badge.title += lost[0];
      badge.querySelector(".unseen").textContent += lost[0];
    }));
    return rows && rows.some((row) => row.some(Boolean))
      ? "The line below an ability: the share of the activation that is lost when it alone is taken off and the model is asked again. A pointer on it is told how much."
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
      const [low, high] = told("feature-histogram", clicked), url = new URL(location);
      for (const name of ["tab", "group", "x"]) url.searchParams.delete(name);
      url.searchParams.set("min", low);
      url.searchParams.set("max", high);
      go(url);
    }
    return dash_clientside.no_update;
  },
  openPoint(clicked) {
    if (clicked) go("/f/" + told("home-spread", clicked));
    return dash_clientside.no_update;
  },
  listChanged(q, state) {
    const url = new URL(location);
    for (const [name, value] of [["q", q], ["state", state]]) {
      value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    }
    history.replaceState(history.state, "", url);
    document.getElementById("features-file").href = "/api/features.csv" + url.search;
    // Who types before the grid is there is heard once it is.
    dash_ag_grid.getApiAsync("features-grid").then((grid) => {
      if (grid.getDisplayedRowCount()) grid.ensureIndexVisible(0, "top");
      grid.purgeInfiniteCache();
    });
    return dash_clientside.no_update;
  },
};

// Whether the dashboard answers: the page says so as long as it does not, and looks for it every two seconds until it does again.
(() => {
  const request = window.fetch.bind(window);
  // lost: nothing answers. left: the page of the address never came, what stands here is another one. refused: a status.
  const state = { lost: false, left: false, refused: 0 };
  const sentence = () => {
    if (state.lost) return "The dashboard does not answer. What stands here is from before; nothing is saved until it answers again, and what is typed into a label is kept.";
    if (state.left) return "The dashboard answers, but this page is not the one of its address. What is typed into a label is kept. ";
    if (state.refused) return `The dashboard did not take what this page sent (status ${state.refused}): the two are of different versions. What is typed into a label is kept. `;
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
    again.textContent = "Load it again";
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

// Tables: `cells.drawn` sends them as data, here they become elements. What is written is text, never markup.
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
  const cell = (given, above) => {
    const said = typeof given === "string" ? { t: given } : given;
    const made = element(said.th ? "th" : "td", said.c);
    if (said.th) made.scope = above ? "col" : "row";
    if (said.i) made.title = said.i;
    for (const [name, value] of Object.entries(said.s || {})) made.style.setProperty(name, value);
    if (said.b) made.append(...said.b.map(badge));
    else if (said.bar != null) {
      const whole = element("div", "with-bar"), bar = element("span", "bar " + (said.c || ""));
      bar.style.setProperty("--share", said.bar + "%");
      whole.append(bar, element("span", "number", said.t));
      made.append(whole);
    } else if (said.h) {
      const link = element("a", "", said.t);
      link.href = said.h;
      made.append(link);
    } else made.textContent = said.t;
    return made;
  };
  const row = (given, above) => {
    const said = Array.isArray(given) ? { cells: given } : given, made = element("tr", said.c);
    if (said.i) made.title = said.i;
    if (said.n != null) made.dataset.n = said.n;
    made.append(...said.cells.map((one) => cell(one, above)));
    return made;
  };
  // A row, and those that are the same, or nearly: hidden until the button in it is pressed.
  const rows = (given) => {
    const first = row(given, false), others = (given.alike || []).map((cells) => row(cells, false));
    if (others.length) {
      const button = element("button", "plain-button alike", `+ ${others.length} ${given.equal ? "equal" : "alike"}`);
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
    const told = JSON.parse(place.drawn), table = element("table", told.kind), body = element("tbody");
    if (told.caption) table.append(element("caption", "", told.caption));
    if (told.head.length) {
      const head = element("thead");
      head.append(row(told.head, true));
      table.append(head);
    }
    body.append(...told.body.flatMap(rows));
    table.append(body);
    place.replaceChildren(table);
  };
  new MutationObserver(() => document.querySelectorAll("slot[data-table]").forEach(draw)).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["data-table"],
  });
  // A plain link within a table changes the page as a link of Dash does, without loading everything again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("slot a[href]");
    if (!link || link.origin !== location.origin || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.href);
  });
})();

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
  const copyLink = (anchor) => navigator.clipboard.writeText(anchor ? location.href.split("#")[0] + "#" + anchor : location.href).then(() => say("The link is copied."), () => say("The browser did not allow it."));
  // Pinned: one feature, kept as long as the browser's tab is.
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
  // One panel as large as the window, until Escape.
  const grow = (panel) => {
    const whole = panel.classList.toggle("whole");
    panel.querySelector(".grow").textContent = whole ? "smaller" : "larger";
    panel.querySelector(".grow").focus();
    window.dispatchEvent(new Event("resize"));
  };
  const picture = (panel, format) => {
    const plot = panel.querySelector(".js-plotly-plot");
    if (plot) Plotly.downloadImage(plot, { format, filename: panel.querySelector(".dash-graph").id, width: plot.clientWidth, height: plot.clientHeight, scale: 2 });
  };
  // A link to a panel leads there once the panel is there.
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
