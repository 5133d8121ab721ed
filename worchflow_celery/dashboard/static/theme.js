// Before the first paint: the theme that was chosen here. Kept in the browser alone, never sent.
(() => {
  try {
    const chosen = localStorage.getItem("worchflow-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* no storage: the system's theme */ }
})();
