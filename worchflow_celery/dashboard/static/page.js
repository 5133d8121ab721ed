// What a page has beyond what works without it: live parts, keys, copying, a theme to choose.
"use strict";
(() => {
  const body = document.body, base = body.dataset.base, live = body.dataset.live;
  const $ = (id) => document.getElementById(id);

  // -- theme ------------------------------------------------------------------------------------
  const root = document.documentElement, themeButton = $("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const label = () => { themeButton.textContent = theme() === "dark" ? "Light" : "Dark"; themeButton.title = `Use the ${theme() === "dark" ? "light" : "dark"} theme`; };
  const toggle = () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try { localStorage.setItem("worchflow-theme", root.dataset.theme); } catch { /* for this page only */ }
    label();
  };
  themeButton.hidden = false;
  themeButton.addEventListener("click", toggle);
  system.addEventListener("change", label);
  label();

  // -- small helpers ----------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy], [data-copy-link]");
    if (!copy || !navigator.clipboard) return;
    await navigator.clipboard.writeText(copy.dataset.copy ? $(copy.dataset.copy).textContent : location.href.split("#")[0]);
    const before = copy.dataset.copy ? "Copy" : "Copy link";
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = before; }, 1500);
  });
  const unhide = () => {
    if (navigator.clipboard) for (const one of document.querySelectorAll("[data-copy], [data-copy-link]")) one.hidden = false;
    if ($("follow-label") && live !== "off") $("follow-label").hidden = false;
  };
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !confirm(question)) { event.preventDefault(); return; }
    if (event.target.method === "post") setTimeout(() => { if (event.submitter) event.submitter.disabled = true; });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) for (const one of document.querySelectorAll("button:disabled")) one.disabled = false; });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.id !== "tour") return;
    try { event.target.open ? localStorage.removeItem("worchflow-tour") : localStorage.setItem("worchflow-tour", "closed"); } catch { /* for this page only */ }
  }, true);
  try { if ($("tour") && localStorage.getItem("worchflow-tour")) $("tour").open = false; } catch { /* no storage: open */ }
  const picked = () => {
    const word = $("picked");
    if (!word) return;
    const count = document.querySelectorAll("#bulk input[name=id]:checked").length;
    word.textContent = `${count} selected:`;
    for (const one of document.querySelectorAll(".bulk button")) one.disabled = !count || $("main").classList.contains("stale");
  };
  document.addEventListener("change", picked);
  unhide();
  picked();

  // -- views: filters with a name, kept in this browser ------------------------------------------
  const views = $("views");
  if (views) {
    const place = `worchflow-views:${base}`;
    const read = () => {
      try {
        const found = JSON.parse(localStorage.getItem(place) || "[]");
        return found.filter((one) => typeof one.name === "string" && String(one.query).startsWith("?")).slice(0, 50);
      } catch { return []; }
    };
    const write = (found) => { try { localStorage.setItem(place, JSON.stringify(found)); } catch { /* no storage: for this page only */ } draw(found); };
    const draw = (found) => {
      $("views-none").hidden = found.length > 0;
      $("views-list").replaceChildren(...found.map((one) => {
        const item = document.createElement("li"), link = document.createElement("a"), off = document.createElement("button");
        link.href = `${base}/${one.query}`;
        link.textContent = one.name;
        if (one.query === views.dataset.query) link.setAttribute("aria-current", "true");
        off.type = "button";
        off.className = "quiet";
        off.textContent = "×";
        off.setAttribute("aria-label", `Forget the view ${one.name}`);
        off.addEventListener("click", (event) => { event.stopPropagation(); write(read().filter((other) => other.name !== one.name)); });
        item.append(link, off);
        return item;
      }));
    };
    $("views-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = $("views-name").value.trim();
      if (name) write([...read().filter((one) => one.name !== name), { name, query: views.dataset.query }]);
      $("views-name").value = "";
    });
    views.hidden = false;
    draw(read());
  }

  // -- keys -------------------------------------------------------------------------------------
  const dialog = $("keys-dialog"), keysButton = $("keys");
  keysButton.hidden = false;
  keysButton.addEventListener("click", () => dialog.showModal());
  const places = { e: "/", f: "/flows", s: "/schedules", w: "/workers", n: "/send" };
  let going = 0;
  const step = (by) => {
    const rows = [...document.querySelectorAll("tbody[data-id]")];
    if (!rows.length) return;
    const now = rows.findIndex((one) => one.classList.contains("at"));
    const next = rows[Math.max(0, Math.min(rows.length - 1, now + by))];
    rows[now]?.classList.remove("at");
    next.classList.add("at");
    next.querySelector(".c-id a").focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    if (event.target.matches("input, select, textarea")) { if (event.key === "Escape") event.target.blur(); return; }
    if (Date.now() - going < 1500 && places[event.key]) { location.href = base + places[event.key]; return; }
    going = 0;
    if (event.key === "g") going = Date.now();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "t") toggle();
    else if (event.key === "?") dialog.showModal();
    else if (event.key === "/" && $("q")) { event.preventDefault(); $("q").focus(); $("q").select(); }
  });

  // -- live parts -------------------------------------------------------------------------------
  const pill = $("live"), word = $("live-word");
  const say = (text, look) => { pill.hidden = false; pill.className = `pill ${look}`; if (word.textContent !== text) word.textContent = text; };
  const lostWords = [...$("lost").childNodes];
  const lost = (is, words = lostWords) => {
    if (is) $("lost").replaceChildren(...words);
    if ($("lost").hidden === !is) return;
    $("lost").hidden = !is;
    $("main").classList.toggle("stale", is);
    for (const one of document.querySelectorAll("main button")) one.disabled = is;
    picked();
  };
  const same = (one, other) => one.innerHTML === other.innerHTML;
  const busy = (part) => part.contains(document.activeElement) && document.activeElement !== document.body && document.activeElement.matches("input, select, textarea, button, summary");

  const keep = (old, fresh) => {  // what somebody has opened, or ticked, stays so
    for (const one of old.querySelectorAll("[data-keep]")) {
      const twin = fresh.querySelector(`[data-keep="${CSS.escape(one.dataset.keep)}"]`);
      if (twin) twin.open = one.open;
    }
    for (const one of old.querySelectorAll("input[type=checkbox]:checked")) {
      const twin = fresh.querySelector(`input[value="${CSS.escape(one.value)}"]`);
      if (twin) twin.checked = true;
    }
  };
  const swap = (old, fresh) => {
    keep(old, fresh);
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const at = old.classList.contains("at");
    old.replaceWith(fresh);
    if (at) fresh.classList.add("at");
    if (focused) [...fresh.querySelectorAll("a")].find((one) => one.getAttribute("href") === focused)?.focus();
  };
  const list = (old, fresh) => {  // rows change where they are; new ones wait to be asked for
    const now = new Map([...old.tBodies].map((one) => [one.dataset.id, one]));
    let more = 0;
    for (const row of [...fresh.tBodies]) {
      const known = now.get(row.dataset.id);
      if (!known) more += 1;
      else if (!same(known, row) && !busy(known)) swap(known, document.adoptNode(row));
    }
    const button = $("fresh");
    button.hidden = !more;
    button.textContent = `${more} new ↑`;
  };
  const update = (page) => {
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const old = document.querySelector(`[data-part="${CSS.escape(fresh.dataset.part)}"]`);
      if (!old) { if (live !== "list") continue; location.reload(); return; }
      if (fresh.hasAttribute("data-list")) list(old, fresh);
      else if (!same(old, fresh) && !busy(old)) swap(old, document.adoptNode(fresh));
    }
    document.querySelector(".foot .muted").textContent = page.querySelector(".foot .muted")?.textContent ?? "";
    unhide();
    picked();
    if ($("follow")?.checked) $("log-end").scrollIntoView({ block: "end" });
  };

  let timer = 0, asking = false, missed = false, failures = 0, ended = false;
  const refresh = async () => {
    if (asking) { missed = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, signal: AbortSignal.timeout(8000) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status === 503 && live !== "false") {  // the store is away: what is here stays, greyed
        lost(true, page.querySelector("main .banner")?.childNodes);
        say("not connected", "lost");
        return;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      if (page.body.dataset.live !== live) ended = true;
      if (body.dataset.live === "false") { location.reload(); return; }
      update(page);
      failures = 0;
      lost(false);
      say(streaming ? "live" : "live, by the second", streaming ? "" : "slow");
    } catch {
      failures += 1;
      if (failures > 1) { lost(true); say("not connected", "lost"); }
    } finally {
      asking = false;
      if (missed) { missed = false; soon(150); }
    }
  };
  const soon = (delay) => { if (!timer && !document.hidden) timer = setTimeout(() => { timer = 0; refresh(); }, delay); };

  // One stream for all tabs of a browser: it has six connections for a host, and they are needed.
  let streaming = false, source = null;
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`worchflow:${base}`) : null;
  const told = (event) => {
    if (event.kind === "hello") { if (source?.readyState === 1) tell({ kind: "open" }); return; }
    if (event.kind === "open") { streaming = true; failures = 0; say("live", ""); return; }
    if (event.kind === "lost") { streaming = false; return; }
    if (live === "list" || live === "parts" || event.execution_id === live) soon(150);
  };
  const tell = (event) => { told(event); channel?.postMessage(event); };
  const open = () => {
    source = new EventSource(`${base}/api/v1/events`);
    source.onopen = () => tell({ kind: "open" });
    source.onerror = () => tell({ kind: "lost" });
    source.addEventListener("update", (message) => tell({ ...JSON.parse(message.data), kind: "update" }));
  };
  if (live === "false") {
    if (document.querySelector("[data-status='503']")) setInterval(() => { if (!document.hidden) refresh(); }, 2000);
    return;
  }
  if (live === "off") return;
  say("connecting", "slow");
  if (channel) channel.onmessage = (message) => told(message.data);
  if (navigator.locks && channel) navigator.locks.request(`worchflow:${base}`, () => new Promise(() => open()));
  channel?.postMessage({ kind: "hello" });
  const again = () => { if (!document.hidden && !ended) soon(0); setTimeout(again, streaming ? 10000 : 2500); };
  setTimeout(again, 2500);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(0); });
})();
