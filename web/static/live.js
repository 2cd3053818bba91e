/* What HTML cannot: one stream of changes, put into place without moving focus; times as "3 min ago"; dropped files. */
"use strict";
(() => {
  const body = document.body, badge = document.getElementById("live"), say = document.getElementById("announce");
  const kept = new Map(); // fragments that must wait: somebody is choosing or marking text in them
  const headAtLoad = Number((document.getElementById("head") || {}).textContent || 0);
  const STALE_MS = 35000; // two pings and a little
  let source = null, heard = Date.now(), told = "", toldAt = 0, away = false;

  // Change `old` into `fresh`, touching only what differs.
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
      old.replaceWith(fresh.cloneNode(true));
      return;
    }
    if (old.nodeType !== 1) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.nodeName === "TIME" && old.dateTime === fresh.dateTime) return;
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    children(old, fresh);
  }

  function children(old, fresh) {
    const wanted = [...fresh.childNodes];
    wanted.forEach((node, n) => (old.childNodes[n] ? morph(old.childNodes[n], node) : old.append(node.cloneNode(true))));
    while (old.childNodes.length > wanted.length) old.lastChild.remove();
  }

  function inUse(element) {
    const active = document.activeElement, marked = document.getSelection();
    if (active && active !== element && element.contains(active) && /^(SELECT|INPUT|TEXTAREA)$/.test(active.nodeName)) return true;
    return marked && !marked.isCollapsed && element.contains(marked.anchorNode);
  }

  function show(name, text) {
    const element = document.getElementById(name);
    if (!element) return;
    if (inUse(element)) {
      kept.set(name, text);
      return;
    }
    kept.delete(name);
    const fresh = document.createElement("template");
    fresh.innerHTML = text;
    children(element, fresh.content);
    times(element);
    if (name === "head") newer(Number(text));
    const status = element.querySelector("[data-title]");
    if (status) stand(status);
  }

  // The tab's title carries the state; a change of state is spoken, at most one in five seconds.
  function stand(status) {
    const title = status.dataset.title + " – evertrain", word = status.textContent;
    if (document.title !== title) document.title = title;
    if (word !== told && Date.now() - toldAt > 5000) {
      if (told) say.textContent = "Now " + word;
      told = word;
      toldAt = Date.now();
    }
  }

  function newer(head) {
    const link = document.getElementById("newer");
    if (link && head > headAtLoad) link.hidden = false;
  }

  function times(root) {
    for (const time of root.querySelectorAll("time:not([data-fixed])")) {
      const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  function ago(seconds) {
    if (seconds < -5) return "in " + (seconds > -5400 ? Math.round(-seconds / 60) + " min" : seconds > -129600 ? Math.round(-seconds / 3600) + " h" : Math.round(-seconds / 86400) + " days");
    if (seconds < 5) return "just now";
    if (seconds < 60) return Math.floor(seconds / 5) * 5 + " s ago";
    if (seconds < 5400) return Math.round(seconds / 60) + " min ago";
    if (seconds < 129600) return Math.round(seconds / 3600) + " h ago";
    return Math.round(seconds / 86400) + " days ago";
  }

  function mark(state, text) {
    if (badge.dataset.state === state && badge.textContent === text) return;
    badge.dataset.state = state;
    badge.textContent = text;
    badge.hidden = false;
  }

  function open() {
    if (source || !body.dataset.page) return;
    const seq = away ? 0 : body.dataset.seq;
    source = new EventSource(`/live?page=${encodeURIComponent(body.dataset.page)}&seq=${seq}`);
    const name = (event) => {
      heard = Date.now();
      mark("live", "live");
      if (event.type !== "ping") show(event.type, event.data);
    };
    for (const element of document.querySelectorAll("main [id], #nav")) source.addEventListener(element.id, name);
    source.addEventListener("ping", name);
    source.onopen = () => { heard = Date.now(); mark("live", "live"); };
    source.onerror = () => {
      mark("reconnecting", "reconnecting");
      if (source && source.readyState === 2) { close(); setTimeout(open, 2000); } // refused: the browser has given up
    };
  }

  function close() {
    if (source) source.close();
    source = null;
    away = true; // what was missed comes as a fresh set
  }

  setInterval(() => {
    if (source && Date.now() - heard > STALE_MS) mark("stale", "stale since " + new Date(heard).toLocaleTimeString());
    for (const [name, text] of [...kept]) show(name, text);
    times(document);
  }, 1000);
  // A hidden tab gives its connection back: a browser has only six for all tabs.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());

  const zone = document.getElementById("dropzone");
  if (zone) {
    const files = zone.querySelector("input[type=file]");
    for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!event.dataTransfer.files.length) return;
      files.files = event.dataTransfer.files;
      zone.requestSubmit();
    });
  }

  // Steps marked with the mouse on the large chart are looked at closer: the same address as the form below it.
  addEventListener("pointerdown", (down) => {
    const chart = down.pointerType === "mouse" && down.button === 0 && down.target.closest && down.target.closest(".chart[data-first] svg");
    if (!chart || !document.querySelector(".zoom form")) return;
    const figure = chart.closest("figure"), box = chart.getBoundingClientRect();
    const first = Number(figure.dataset.first), last = Number(figure.dataset.last);
    const share = (event) => Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const marked = document.createElementNS("http://www.w3.org/2000/svg", "path");
    marked.setAttribute("class", "marked");
    const drag = (move) => {
      if (!marked.isConnected) chart.append(marked);
      marked.setAttribute("d", `M${1000 * share(down)} 0H${1000 * share(move)}V300H${1000 * share(down)}Z`);
    };
    const end = (up) => {
      removeEventListener("pointermove", drag);
      marked.remove();
      if (up.type !== "pointerup" || Math.abs(up.clientX - down.clientX) < 8) return;
      const ends = [share(down), share(up)].sort((a, b) => a - b).map((part) => Math.round(first + part * (last - first)));
      const form = document.querySelector(".zoom form");
      [form.elements.from.value, form.elements.to.value] = ends;
      form.requestSubmit();
    };
    down.preventDefault();
    addEventListener("pointermove", drag);
    for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, end, { once: true });
  });

  times(document);
  const status = document.querySelector("[data-title]");
  if (status) stand(status);
  if (!document.hidden) open();
})();
