// Runs before the page is drawn, so that it never flashes in the wrong colours.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("sightline-theme") ?? "system";
  const apply = () => {
    const theme = chosen() === "system" ? (system.matches ? "dark" : "light") : chosen();
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.themeChosen = chosen();
  };
  system.addEventListener("change", apply);
  addEventListener("sightline-theme", (event) => {
    localStorage.setItem("sightline-theme", event.detail);
    apply();
  });
  apply();
})();
