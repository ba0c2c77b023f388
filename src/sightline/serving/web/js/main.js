// Starts the page: asks what is served, then draws whatever the address says.
import { call, onKeyWanted } from "./api.js";
import * as covers from "./covers.js";
import { $, $$, h, replace } from "./dom.js";
import { plural, shortName } from "./format.js";
import { icon } from "./icons.js";
import * as keys from "./keys.js";
import * as models from "./models.js";
import { failure } from "./results.js";
import * as search from "./search.js";
import { current, followed, fresh, onChange } from "./store.js";
import * as viewer from "./viewer.js";

const THEMES = { system: ["system", "as the system", "light"], light: ["sun", "light", "dark"], dark: ["moon", "dark", "system"] };

let index = null;

function theme() {
  const [sign, told] = THEMES[document.documentElement.dataset.themeChosen];
  replace($("#theme"), icon(sign));
  $("#theme").setAttribute("aria-label", `Colours: ${told}. Change`);
  $("#theme").title = `Colours: ${told}`;
}

function askForKey(wrong) {
  const dialog = $("#key");
  $("#key-wrong").textContent = wrong ? "The service does not know this key." : "";
  $("#key-input").value = "";
  dialog.showModal();
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  return new Promise((resolve) => {
    $("#key-form").onsubmit = (event) => {
      event.preventDefault();
      dialog.close();
      resolve($("#key-input").value.trim());
    };
  });
}

function draw(state, before) {
  document.body.dataset.view = state.view;
  $("#search-view").hidden = state.view !== "search";
  $("#models-view").hidden = state.view !== "models";
  for (const tab of $$("nav [data-view-link]")) {
    if (tab.dataset.viewLink === state.view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (state.view === "models") {
    document.body.removeAttribute("data-home");
    return models.draw(state, before);
  }
  if (!index) return;
  search.draw(state, before);
  viewer.draw(state, before ?? state);
}

async function start() {
  replace($("#state"));
  try {
    index = await call("/v1/index");
  } catch (error) {
    document.body.removeAttribute("data-home");
    return replace($("#state"), failure(error, start));
  }
  replace($("#served"), `${plural(index.pages, "page")} \u00b7 `, h("span", { title: index.model }, shortName(index.model)));
  search.build(index);
  covers.build(index);
  viewer.build(index, search.answerShown);
  keys.build(index.feedback);
  draw(current(), null);
}

onKeyWanted(askForKey);
onChange(draw);
theme();
$("#theme").addEventListener("click", () => {
  const next = THEMES[document.documentElement.dataset.themeChosen][2];
  dispatchEvent(new CustomEvent("sightline-theme", { detail: next }));
  theme();
});
replace($("#help-open"), icon("help"));
$("#help-open").addEventListener("click", keys.showHelp);
replace($(".box-icon"), icon("search"));
$("#submit").append(icon("search"));
for (const tab of $$("[data-view-link]")) {
  tab.addEventListener("click", (event) => followed(event, fresh({ view: tab.dataset.viewLink })));
}
for (const button of $$("[data-close]")) {
  replace(button, icon("close"));
  button.addEventListener("click", () => button.closest("dialog").close());
}
for (const dialog of [$("#sheet"), $("#help")]) {
  dialog.addEventListener("click", ({ target, clientX, clientY }) => {
    const box = dialog.getBoundingClientRect();
    const inside = clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
    if (target === dialog && !inside) dialog.close();
  });
}
addEventListener("scroll", () => document.body.classList.toggle("scrolled", scrollY > 8), { passive: true });
document.body.toggleAttribute("data-home", current().view === "search" && !current().q && !current().image);
draw(current(), null);
start();
