// Says how many faces of a group are going to be named, as some are taken out of it.
const form = document.getElementById("group");
if (form) {
  const total = Number(form.dataset.total);
  const count = () => {
    const apart = form.querySelectorAll("input[name=apart]:checked, input[name=apart][type=hidden]").length;
    const rest = total - apart;
    document.getElementById("count").textContent = `${rest} ${rest === 1 ? "face" : "faces"}`;
    document.getElementById("apart").textContent = apart ? `${apart} left out.` : "";
  };
  form.addEventListener("change", count);
  count();
}
