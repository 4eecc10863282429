// Dark or light, before anything is painted: runs while the head is read. What was chosen is kept in this browser;
// nothing chosen means what the system prefers.
(() => {
  const KEY = "tollgate-theme";
  const CHOICES = ["auto", "light", "dark"];
  const NAMES = { auto: "auto", light: "light", dark: "dark" };

  const read = () => {
    try {
      const kept = localStorage.getItem(KEY);
      return CHOICES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // storage can be forbidden
    }
  };

  const keep = (choice) => {
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // then it holds until the page is left
    }
  };

  let choice = read();
  const apply = () => {
    document.documentElement.dataset.theme = choice;
  };
  apply();

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = document.getElementById("theme-name");
    const tell = () => {
      name.textContent = NAMES[choice];
    };
    tell();
    button.hidden = false;
    button.addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      keep(choice);
      apply();
      tell();
    });
  });
})();
