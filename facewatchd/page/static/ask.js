// A photo is sent as soon as it is chosen, dropped anywhere on the page, or pasted.
const form = document.getElementById("drop");
const input = document.getElementById("photo");
const busy = document.getElementById("busy");

const send = () => {
  form.classList.add("busy");
  busy.textContent = "Looking for faces …";
  form.requestSubmit();
};

const take = (files) => {
  const photo = [...files].find((file) => file.type.startsWith("image/") || /\.(hei[cf]|avif|jpe?g|png|webp|tiff?|bmp|gif)$/i.test(file.name));
  if (!photo) {
    busy.textContent = "That is no photo.";
    return;
  }
  if (photo.size > Number(form.dataset.most)) {
    busy.textContent = `That file has more than the ${form.dataset.most >> 20} MiB that can be sent.`;
    input.value = "";
    return;
  }
  const chosen = new DataTransfer();
  chosen.items.add(photo);
  input.files = chosen.files;
  send();
};

input.addEventListener("change", () => input.files.length && take(input.files));
if (input.files.length) take(input.files); // chosen before this script was there
document.addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? form.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  take(event.dataTransfer.files);
});
window.addEventListener("pageshow", () => {
  form.classList.remove("busy"); // also when the page comes back from the history
  busy.textContent = "";
});
