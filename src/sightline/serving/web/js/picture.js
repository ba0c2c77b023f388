// The image to search by: chosen, pasted or dropped, made small enough to send, remembered for this tab.
import { $, replace, toast } from "./dom.js";
import { icon } from "./icons.js";

const LONGEST_SIDE = 1600;
const REMEMBERED = "sightline-image-";

const kept = new Map();

/** The data URI of an image that was given before; null where this browser does not have it. */
export function pictureOf(name) {
  return kept.get(name) ?? sessionStorage.getItem(REMEMBERED + name);
}

/** Listens for images; `found(name)` is called with the name of each. */
export function listen(found, allowed) {
  const take = async (file) => {
    if (!allowed()) return toast("The model of this index reads questions as text only.");
    try {
      found(await keep(file));
    } catch {
      toast(`${file.name || "This file"} cannot be read as an image.`);
    }
  };
  $("#picture-choose").addEventListener("click", () => $("#picture-file").click());
  $("#picture-file").addEventListener("change", (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = "";
  });
  addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  let depth = 0;
  const shown = (on) => ($("#drop").hidden = !on);
  addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files")) shown(++depth > 0);
  });
  addEventListener("dragleave", (event) => {
    if (event.dataTransfer?.types.includes("Files") && --depth <= 0) shown((depth = 0));
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    shown((depth = 0));
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });
}

/** Shows the image in the search box. */
export function showPicture(name) {
  const address = name && pictureOf(name);
  $("#picture").hidden = !address;
  if (address) $("#picture-shown").src = address;
  else $("#picture-shown").removeAttribute("src");
}

export function dress() {
  replace($("#picture-choose"), icon("image"));
  replace($("#picture-away"), icon("close"));
}

const imageIn = (data) => [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));

async function keep(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const address = canvas.toDataURL("image/jpeg", 0.92);
  const name = await digest(address);
  kept.set(name, address);
  try {
    sessionStorage.setItem(REMEMBERED + name, address);
  } catch {
    // Full: the image is lost when the tab is loaded again, and the page says so then.
  }
  return name;
}

/** A short name for the address bar: FNV-1a, as crypto.subtle is only there over HTTPS. */
async function digest(text) {
  let hash = 0xcbf29ce484222325n;
  for (let at = 0; at < text.length; at += 1 + (text.length >> 12)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(text.charCodeAt(at))) * 0x100000001b3n);
  }
  return hash.toString(36);
}
