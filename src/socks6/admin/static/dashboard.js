// The dashboard of the admin interface: everything by its REST API, with the token of this tab. Texts of the proxy are put in as
// text, never as HTML.

const API = "api/v1";
const PERIOD = 2000; // milliseconds between two looks
const RATE_PERIOD = 10000; // milliseconds that the rates in tables are of
const SAMPLES = 150; // of a chart: five minutes
const ROWS = 500; // of a table
const EVENTS = 300;
const RETRY = 3000;
const NOTABLE = [
  "UserRefused", "LimitReached", "SourcePenalized", "AcceptPaused", "UpstreamDown", "UpstreamUp", "AuthenticatorDown",
  "AuthenticatorUp", "CertificateRead", "Reloaded", "UnexpectedError", "Stopping", "SessionOpened", "SessionTornDown",
];
const BAD = new Set(["UserRefused", "LimitReached", "SourcePenalized", "AcceptPaused", "UpstreamDown", "AuthenticatorDown",
  "UnexpectedError"]);

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("socks6-token") ?? "";

/* Elements, numbers */

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && name !== "role") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function bytes(count) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (count < 999.5) return `${unit === "B" || count >= 99.95 ? count.toFixed(0) : Number(count.toPrecision(3))} ${unit}`;
    count /= 1000;
  }
  return `${Number(count.toPrecision(3))} TB`;
}

function duration(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

function place(host, port) {
  return host ? `${host.includes(":") ? `[${host}]` : host}:${port}` : "";
}

/* The API */

class Refused extends Error {}

async function ask(method, path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(10000);
  const answer = await fetch(`${API}${path}`, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  if (answer.status === 401) {
    leave("The token is wrong.");
    throw new Refused("The token is wrong.");
  }
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Refused(value.detail ?? value.title ?? `The proxy answers ${answer.status}.`);
    error.status = answer.status;
    throw error;
  }
  return value;
}

/* What happened: a polite line, and an alert. */

let noticeTimer = 0;

function notice(text) {
  put($("notice"), text);
  put($("fault"), "");
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => put($("notice"), ""), 8000);
}

function fault(error) {
  put($("notice"), "");
  put($("fault"), error.message);
}

function unreachable(error) {
  if (error instanceof Refused) {
    if (token) fault(error);
    return;
  }
  $("state").className = "down";
  put($("state"), "not reachable");
}

/* Tables: rows are kept by key, so that focus and selection outlive a look. */

class Table {
  constructor(id, label, columns, { empty, sort }) {
    this.columns = columns;
    this.rows = new Map();
    this.empty = empty;
    this.sorted = sort;
    const head = make("tr", { role: "row" });
    this.heads = columns.map((column) => {
      const cell = make("th", { scope: "col", role: "columnheader", className: column.actions ? "actions" : column.number ? "number" : "" });
      if (column.value) {
        cell.append(make("button", { type: "button", textContent: column.label, onclick: () => this.sortBy(column) }));
      } else {
        cell.append(make("span", { className: column.actions ? "quiet" : "", textContent: column.label }));
      }
      head.append(cell);
      return cell;
    });
    this.body = make("tbody", { role: "rowgroup" });
    const thead = make("thead", { role: "rowgroup" }, head);
    $(id).append(make("table", { className: "table", role: "table", "aria-label": label }, thead, this.body));
    this.markSorted();
  }

  sortBy(column) {
    const [label, direction] = this.sorted;
    this.sorted = [column.label, label === column.label ? -direction : column.number ? -1 : 1];
    this.markSorted();
    this.show(this.last);
  }

  markSorted() {
    const [label, direction] = this.sorted;
    this.columns.forEach((column, index) => {
      if (column.label === label) this.heads[index].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  show(items) {
    this.last = items;
    const [label, direction] = this.sorted;
    const { value } = this.columns.find((column) => column.label === label);
    const order = [...items].sort((a, b) => direction * compare(value(a), value(b))).slice(0, ROWS);
    const keys = new Set(order.map((item) => item.key));
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      if (row.element.contains(document.activeElement)) this.body.closest("section").querySelector("h2").focus();
      row.element.remove();
      this.rows.delete(key);
    }
    this.body.querySelector(".none")?.remove();
    let before = null;
    for (const item of order) {
      const row = this.rows.get(item.key) ?? this.addRow(item.key);
      row.item = item;
      this.columns.forEach((column, index) => this.fill(row.cells[index], column, item));
      const expected = before ? before.nextSibling : this.body.firstChild;
      if (expected !== row.element) this.body.insertBefore(row.element, expected);
      before = row.element;
    }
    if (!order.length) {
      const cell = make("td", { className: "empty", role: "cell", colSpan: this.columns.length, textContent: this.empty });
      this.body.append(make("tr", { className: "none", role: "row" }, cell));
    }
  }

  addRow(key) {
    const row = { item: null, cells: [] };
    row.cells = this.columns.map((column) => {
      const kind = column.number ? "number" : column.short ? "short" : "";
      const cell = make("td", { role: "cell", className: kind, "data-label": column.label });
      if (column.actions) {
        cell.className = "actions";
        const buttons = column.actions.map(({ act, ...rest }) => {
          const button = make("button", { type: "button", onclick: () => act(row.item) });
          return { button, ...rest };
        });
        cell.append(make("div", {}, ...buttons.map(({ button }) => button)));
        cell.buttons = buttons;
      }
      return cell;
    });
    row.element = make("tr", { role: "row" }, ...row.cells);
    this.rows.set(key, row);
    return row;
  }

  fill(cell, column, item) {
    if (!column.actions) {
      const text = column.text(item);
      put(cell, text);
      cell.classList.toggle("blank", !text);
      cell.classList.toggle("off", Boolean(item.off));
      return;
    }
    for (const { button, label, about, shown, danger } of cell.buttons) {
      const words = typeof label === "function" ? label(item) : label;
      put(button, words);
      button.hidden = shown ? !shown(item) : false;
      button.className = danger ? "danger" : "";
      button.setAttribute("aria-label", `${words} ${about(item)}`);
    }
  }
}

function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
  return a - b;
}

/* Charts */

class Chart {
  constructor(id, what, lines, format) {
    this.figure = $(id);
    this.what = what;
    this.format = format;
    this.lines = lines;
    this.samples = [];
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("role", "img");
    this.labels = lines.map(([name, className]) => make("span", { className }, name));
    this.figure.querySelector("figcaption").append(...this.labels);
    this.figure.append(this.svg);
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  add(at, values) {
    this.samples.push({ at, values });
    if (this.samples.length > SAMPLES) this.samples.shift();
    this.draw();
  }

  draw() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width) return;
    const [left, right, top, bottom] = [58, 8, 10, 20];
    const most = niceAbove(Math.max(2, ...this.samples.flatMap(({ values }) => values)));
    const end = this.samples.at(-1)?.at ?? 0;
    const span = (SAMPLES - 1) * PERIOD;
    const x = (at) => left + (width - left - right) * (1 - (end - at) / span);
    const y = (value) => top + (height - top - bottom) * (1 - value / most);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [0, 0.5, 1].flatMap((part) => [
      shape("line", { class: "grid", x1: left, x2: width - right, y1: y(most * part), y2: y(most * part) }),
      shape("text", { x: left - 6, y: y(most * part) + 4, "text-anchor": "end" }, this.format(most * part)),
    ]);
    for (const minutes of [4, 3, 2, 1]) {
      const at = x(end - minutes * 60000);
      if (width > 420 || minutes % 2 === 0) {
        parts.push(shape("text", { x: at, y: height - 5, "text-anchor": "middle" }, `-${minutes} min`));
      }
    }
    parts.push(shape("text", { x: width - right, y: height - 5, "text-anchor": "end" }, "now"));
    this.lines.forEach(([, className], index) => {
      const path = this.samples.map(({ at, values }, number) => `${number ? "L" : "M"}${x(at).toFixed(1)} ${y(values[index]).toFixed(1)}`);
      parts.push(shape("path", { class: className, d: path.join("") }));
    });
    this.svg.replaceChildren(...parts);
    const now = this.samples.at(-1)?.values ?? this.lines.map(() => 0);
    const words = this.lines.map(([name], index) => `${name} ${this.format(now[index])}`);
    this.labels.forEach((label, index) => put(label, words[index]));
    this.svg.setAttribute("aria-label", `${this.what} in the last five minutes; now ${words.join(", ")}; axis up to ${this.format(most)}`);
  }
}

function shape(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function niceAbove(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 10].map((factor) => factor * size).find((bound) => bound >= value); // whose halves are whole
}

/* Views */

const TILES = [
  ["Connections", (status) => status.connections],
  ["Handshakes", (status) => status.handshakes],
  ["Associations", (status) => status.associations],
  ["Bindings", (status) => status.bindings],
  ["Sessions", (status) => status.sessions],
  ["Served", (status) => status.served],
  ["Up", (status) => bytes(status.bytes_up)],
  ["Down", (status) => bytes(status.bytes_down)],
  ["Running for", (status) => duration(status.uptime)],
];
const tiles = TILES.map(([label]) => {
  const value = make("dd");
  $("tiles").append(make("div", {}, make("dt", { textContent: label }), value));
  return value;
});
const rateChart = new Chart("rate-chart", "Bytes a second", [["up", "up"], ["down", "down"]], (value) => `${bytes(value)}/s`);
const countChart = new Chart("count-chart", "Connections", [["open", "up"]], String);
let before = null;

async function lookAtStatus() {
  const status = await ask("GET", "/status");
  const at = Date.now();
  TILES.forEach(([, text], index) => put(tiles[index], String(text(status))));
  if (before && status.pid === before.status.pid) {
    const seconds = Math.max(0.1, (at - before.at) / 1000);
    const rate = (name) => Math.max(0, (status[name] - before.status[name]) / seconds);
    rateChart.add(at, [rate("bytes_up"), rate("bytes_down")]);
  }
  countChart.add(at, [status.connections]);
  before = { at, status };
  const shown = [...$("listeners").children].map((item) => item.textContent);
  if (shown.join() !== status.listeners.join()) {
    $("listeners").replaceChildren(...status.listeners.map((url) => make("li", { textContent: url })));
  }
  $("state").className = "up";
  put($("state"), `running, ${status.version}`);
  document.title = `socks6: ${status.connections} connection${status.connections === 1 ? "" : "s"}`;
}

const who = (connection) => connection.user || "";
const connectionTable = new Table(
  "connections-table",
  "Connections",
  [
    { label: "No.", number: true, value: (item) => item.id, text: (item) => String(item.id) },
    { label: "User", value: who, text: who },
    { label: "From", value: (item) => item.source, text: (item) => item.source },
    { label: "Inbound", value: (item) => item.inbound, text: (item) => item.inbound },
    { label: "Command", value: (item) => item.command, text: (item) => (item.command || "handshake").replace("_", " ") },
    { label: "To", value: (item) => item.host, text: (item) => [place(item.host, item.port), item.peer].filter(Boolean).join(" ← ") },
    { label: "Up", number: true, value: (item) => item.bytes_up, text: (item) => bytes(item.bytes_up) },
    { label: "Down", number: true, value: (item) => item.bytes_down, text: (item) => bytes(item.bytes_down) },
    { label: "Rate", number: true, value: (item) => item.rate, text: (item) => (item.rate ? `${bytes(item.rate)}/s` : "") },
    { label: "Age", number: true, value: (item) => item.seconds, text: (item) => duration(item.seconds) },
    {
      label: "Actions",
      actions: [{ label: "End", danger: true, about: (item) => `connection ${item.id}`, act: (item) => kick(item) }],
    },
  ],
  { empty: "Nobody is connected.", sort: ["Age", 1] },
);
let counted = new Map();

async function readConnections() {
  const { connections } = await ask("GET", "/connections");
  const at = Date.now();
  const now = new Map();
  for (const item of connections) {
    item.key = item.id;
    const total = item.bytes_up + item.bytes_down;
    const earlier = (counted.get(item.id) ?? []).filter((one) => at - one.at < RATE_PERIOD && at > one.at);
    item.rate = earlier.length ? Math.max(0, (1000 * (total - earlier[0].total)) / (at - earlier[0].at)) : 0;
    now.set(item.id, [...earlier, { at, total }]);
  }
  counted = now;
  return connections;
}

async function lookAtConnections() {
  const connections = await readConnections();
  const wanted = $("find").value.trim().toLowerCase();
  const found = connections.filter((item) =>
    [item.user, item.source, item.host, item.peer, item.command, item.inbound].some((text) => text.toLowerCase().includes(wanted)),
  );
  connectionTable.show(found);
  const shown = Math.min(ROWS, found.length);
  put($("connections-count"), shown < connections.length ? `${shown} of ${connections.length}` : `${shown} in all`);
}

function limitsOf(user) {
  return [
    user.up ? `up ${bytes(user.up)}/s` : "",
    user.down ? `down ${bytes(user.down)}/s` : "",
    user.connections ? `${user.connections} connections` : "",
    user.expires ? `until ${user.expires.slice(0, 10)}` : "",
    user.sources?.length ? `from ${user.sources.join(", ")}` : "",
    user.outgoing ? `by ${user.outgoing}` : "",
  ].filter(Boolean).join(", ");
}

const PERIODS = { day: "a day", month: "a month", ever: "in all" };
const used = (user) => (user.used_up ?? 0) + (user.used_down ?? 0);
const userTable = new Table(
  "users-table",
  "Users",
  [
    { label: "Name", value: (item) => item.name, text: (item) => item.name || "(without a name)" },
    { label: "State", short: true, value: (item) => item.state, text: (item) => item.state },
    { label: "Open", number: true, value: (item) => item.open, text: (item) => (item.open ? String(item.open) : "") },
    { label: "Rate", number: true, value: (item) => item.rate, text: (item) => (item.rate ? `${bytes(item.rate)}/s` : "") },
    { label: "Used", number: true, value: used, text: (item) => (item.known ? bytes(used(item)) : "") },
    { label: "Quota", number: true, value: (item) => item.quota ?? 0, text: (item) => (item.quota ? `${bytes(item.quota)} ${PERIODS[item.quota_period]}` : "") },
    { label: "Limits", value: limitsOf, text: limitsOf },
    { label: "Note", value: (item) => item.note ?? "", text: (item) => item.note ?? "" },
    {
      label: "Actions",
      actions: [
        { label: "Edit", about: (item) => `user ${item.name}`, shown: (item) => item.known, act: (item) => editUser(item) },
        {
          label: (item) => (item.enabled ? "Disable" : "Enable"),
          about: (item) => `user ${item.name}`,
          shown: (item) => item.known,
          act: (item) => changeUser(item, { enabled: !item.enabled }, `${item.name} is ${item.enabled ? "disabled" : "enabled"}.`),
        },
        { label: "Remove", danger: true, about: (item) => `user ${item.name}`, shown: (item) => item.known, act: (item) => removeUser(item) },
        { label: "End all", danger: true, about: (item) => `connections of ${item.name || "clients without a name"}`, shown: (item) => item.open > 0, act: (item) => kickUser(item) },
      ],
    },
  ],
  { empty: "Nobody.", sort: ["Name", 1] },
);

async function readUsers(wanted) {
  try {
    const found = await ask("GET", "/users"); // the first thousand
    if (found.users.length < found.total && wanted) {
      const beginning = await ask("GET", `/users?limit=${ROWS}&after=${encodeURIComponent(wanted)}`);
      const exact = await ask("GET", userPath(wanted)).catch(() => null);
      const users = beginning.users.filter((user) => user.name.startsWith(wanted));
      return { users: exact ? [exact, ...users] : users, total: found.total };
    }
    return found;
  } catch (error) {
    if (error instanceof Refused && error.status >= 400 && error.status < 500 && token) return null; // no users database
    throw error;
  }
}

function stateOf(user) {
  if (!user.enabled) return "disabled";
  if (user.expires && new Date(user.expires) <= new Date()) return "expired";
  return user.quota && used(user) >= user.quota ? "quota used up" : "enabled";
}

async function lookAtUsers() {
  const wanted = $("find-user").value.trim();
  const [users, connections] = await Promise.all([readUsers(wanted), readConnections()]);
  $("add-user").hidden = users === null;
  const rows = new Map();
  for (const user of users?.users ?? []) {
    const state = stateOf(user);
    rows.set(user.name, { ...user, key: user.name, known: true, open: 0, rate: 0, state, off: state !== "enabled" });
  }
  for (const item of connections) {
    if (!item.command) continue;
    if (!rows.has(item.user)) rows.set(item.user, { key: item.user, name: item.user, known: false, open: 0, rate: 0, state: "" });
    const row = rows.get(item.user);
    row.open += 1;
    row.rate += item.rate;
  }
  const part = wanted.toLowerCase();
  const found = [...rows.values()].filter((row) => `${row.name} ${row.note ?? ""}`.toLowerCase().includes(part));
  userTable.show(found);
  const shown = Math.min(ROWS, found.length);
  const known = Math.max(rows.size, users?.total ?? 0);
  const all = shown < known ? `${shown} of ${known}` : `${shown} in all`;
  put($("users-count"), users === null ? `${all}, of those who are connected: there is no users database (--users-db)` : all);
}

const sessionTable = new Table(
  "sessions-table",
  "Sessions by user",
  [
    { label: "User", value: who, text: (item) => item.user || "(without a name)" },
    { label: "Sessions", number: true, value: (item) => item.count, text: (item) => String(item.count) },
    { label: "Connections", number: true, value: (item) => item.connections, text: (item) => String(item.connections) },
    { label: "Tokens at a time", number: true, value: (item) => item.window, text: (item) => String(item.window) },
  ],
  { empty: "No client has a session.", sort: ["User", 1] },
);

async function lookAtSessions() {
  const { sessions } = await ask("GET", "/sessions");
  const rows = new Map();
  for (const session of sessions) {
    const row = rows.get(session.user) ?? { key: session.user, user: session.user, count: 0, connections: 0, window: 0 };
    row.count += 1;
    row.connections += session.connections;
    row.window = Math.max(row.window, session.window);
    rows.set(session.user, row);
  }
  sessionTable.show([...rows.values()]);
  put($("sessions-count"), `${sessions.length} in all`);
}

const penaltyTable = new Table(
  "penalties-table",
  "Penalties",
  [
    { label: "Source", value: (item) => item.source, text: (item) => item.source },
    { label: "For the name", value: who, text: (item) => item.user || "any" },
    { label: "Still", number: true, value: (item) => item.seconds, text: (item) => duration(item.seconds) },
    { label: "Actions", actions: [{ label: "Lift", about: (item) => `penalty of ${item.source}`, act: (item) => lift(item) }] },
  ],
  { empty: "No source is refused.", sort: ["Source", 1] },
);

async function lookAtPenalties() {
  const { penalties } = await ask("GET", "/penalties");
  penaltyTable.show(penalties.map((item) => ({ ...item, key: `${item.source} ${item.user}` })));
}

/* Events, by fetch: an EventSource sends no token. */

let following = null;
let lastEvent = "";

async function follow() {
  following?.abort();
  if (!token || view !== "events") return;
  const control = new AbortController();
  following = control;
  while (following === control) {
    try {
      await readEvents(control.signal);
    } catch (error) {
      if (control.signal.aborted) return;
      unreachable(error);
    }
    await new Promise((done) => setTimeout(done, RETRY));
  }
}

async function readEvents(signal) {
  const kinds = { notable: NOTABLE.join(), ends: "ConnectionEnded", all: "" }[$("event-kinds").value];
  const headers = { Authorization: `Bearer ${token}` };
  if (lastEvent) headers["Last-Event-ID"] = lastEvent;
  const answer = await fetch(`${API}/events?kinds=${kinds}`, { headers, signal, cache: "no-store" });
  if (answer.status === 401) leave("The token is wrong.");
  if (!answer.ok) throw new Refused(`Events: the proxy answers ${answer.status}.`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    if (rest.length > 1_000_000) throw new Error("an event is too long");
    addEvents(parts.map(parseEvent).filter(Boolean));
  }
}

function parseEvent(part) {
  const found = { kind: "", data: "" };
  for (const line of part.split("\n")) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
    if (name === "id") lastEvent = value;
    if (name === "event") found.kind = value;
    if (name === "data") found.data += value;
  }
  return found.kind ? { kind: found.kind, fields: JSON.parse(found.data) } : null;
}

function addEvents(events) {
  if ($("pause-events").checked) return;
  const items = events.slice(-EVENTS).map(({ kind, fields }) => {
    const words = kind.replace(/(?!^)([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
    const bad = BAD.has(kind) || (kind === "CertificateRead" && fields.reason);
    const text = Object.entries(fields).filter(([, value]) => value !== "" && value !== null).map(([name, value]) => `${name}=${shortly(value)}`);
    const time = new Date();
    return make(
      "li",
      { className: bad ? "bad" : "" },
      make("time", { dateTime: time.toISOString(), textContent: time.toLocaleTimeString() }),
      make("b", { textContent: words }),
      make("span", { textContent: text.join(" ") }),
    );
  });
  $("event-list").prepend(...items.reverse());
  while ($("event-list").children.length > EVENTS) $("event-list").lastChild.remove();
}

function shortly(value) {
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/* Doing things */

function confirmed(dialog, heading) {
  put(dialog.querySelector("h2"), heading);
  dialog.returnValue = "";
  dialog.querySelector("form").reset();
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "do"), { once: true }));
}

async function doing(action, done) {
  try {
    notice(done(await action()));
  } catch (error) {
    fault(error);
  }
  look();
}

const reasonOf = () => encodeURIComponent($("kick").querySelector("input").value.trim());

async function kick(item) {
  const to = item.host ? ` to ${place(item.host, item.port)}` : "";
  if (!(await confirmed($("kick"), `End connection ${item.id}${item.user ? ` of ${item.user}` : ""}${to}?`))) return;
  await doing(() => ask("DELETE", `/connections/${item.id}?reason=${reasonOf()}`), () => `Connection ${item.id} has ended.`);
}

async function kickUser(item) {
  if (!(await confirmed($("kick"), `End all connections of ${item.name || "clients without a name"}?`))) return;
  await doing(
    () => ask("DELETE", `/connections?user=${encodeURIComponent(item.name)}&reason=${reasonOf()}`),
    ({ ended }) => `${ended.length} connection${ended.length === 1 ? " has" : "s have"} ended.`,
  );
}

const lift = (item) => doing(() => ask("DELETE", `/penalties/${item.source}`), () => `${item.source} may try again.`);

const userPath = (name) => `/users/${encodeURIComponent(name)}`;

const changeUser = (item, values, words) => doing(() => ask("PATCH", userPath(item.name), values), () => words);

async function removeUser(item) {
  if (await confirmed($("remove"), `Remove user ${item.name}?`)) {
    await doing(() => ask("DELETE", userPath(item.name)), () => `${item.name} is removed.`);
  }
}

let edited = null;

function editUser(item) {
  edited = item;
  const form = $("user").querySelector("form");
  form.reset();
  put($("user-heading"), item ? `User ${item.name}` : "Add a user");
  put($("user-fault"), "");
  const { name, password } = form.elements;
  name.readOnly = Boolean(item);
  password.placeholder = item ? "as it is" : "";
  password.required = !item;
  if (item) {
    for (const field of form.elements) {
      const value = item[field.name];
      if (field.type === "checkbox") field.checked = value;
      else if (field.name && value) field.value = field.name === "expires" ? value.slice(0, 16).replace("T00:00", "") : Array.isArray(value) ? value.join(", ") : sizeText(field.name, value);
    }
  }
  $("user").showModal();
  (item ? password : name).focus();
}

function sizeText(name, value) {
  if (!["quota", "up", "down"].includes(name)) return String(value);
  const [factor, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]].find(([size]) => value % size === 0);
  return `${value / factor}${unit}`;
}

async function saveUser(event) {
  event.preventDefault();
  const form = event.target;
  const values = {};
  for (const field of form.elements) {
    if (!field.name || (field.name === "password" && !field.value) || (edited && field.name === "name")) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.name === "sources") values.sources = field.value.split(",").map((part) => part.trim()).filter(Boolean);
    else if (["note", "name", "password", "quota_period"].includes(field.name)) values[field.name] = field.value;
    else values[field.name] = field.value.trim() || null;
  }
  try {
    if (edited) await ask("PATCH", userPath(edited.name), values);
    else await ask("POST", "/users", values);
  } catch (error) {
    put($("user-fault"), error.message);
    return;
  }
  $("user").close();
  notice(edited ? `${edited.name} is changed.` : `${values.name} is added.`);
  look();
}

/* Going about */

const VIEWS = {
  overview: lookAtStatus,
  connections: lookAtConnections,
  users: lookAtUsers,
  sessions: lookAtSessions,
  penalties: lookAtPenalties,
  events: async () => {},
};
let view = "";
let timer = 0;
let looking = false;

async function look() {
  clearTimeout(timer);
  if (!token || looking) return;
  looking = true;
  try {
    await lookAtStatus();
    if (view !== "overview") await VIEWS[view]?.();
  } catch (error) {
    unreachable(error);
  } finally {
    looking = false;
    clearTimeout(timer);
    if (token && !document.hidden) timer = setTimeout(look, PERIOD);
  }
}

function go() {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  const next = token ? (wanted in VIEWS ? wanted : "overview") : "login";
  const changed = view && view !== next;
  view = next;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== view;
  for (const link of $("nav").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("nav").hidden = $("leave").hidden = !token;
  if (view === "login") $("login").querySelector("input").focus();
  else if (changed) document.querySelector(`#${view} h2`).focus();
  look();
  follow();
}

function leave(why = "") {
  token = "";
  sessionStorage.removeItem("socks6-token");
  following?.abort();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  $("event-list").replaceChildren();
  put($("state"), "");
  put($("notice"), "");
  put($("fault"), why);
  document.title = "socks6";
  go();
}

$("login").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = event.target.elements.token;
  token = field.value.trim();
  try {
    await ask("GET", "/status");
  } catch (error) {
    token = "";
    fault(error);
    field.focus();
    return;
  }
  sessionStorage.setItem("socks6-token", token);
  field.value = "";
  put($("fault"), "");
  go();
});
$("leave").addEventListener("click", () => leave());
$("reload").addEventListener("click", () => doing(() => ask("POST", "/reload"), () => "Users and policy were read again."));
$("find").addEventListener("input", look);
$("find-user").addEventListener("input", look);
$("add-user").addEventListener("click", () => editUser(null));
$("user").querySelector("form").addEventListener("submit", saveUser);
for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
$("event-kinds").addEventListener("change", follow);
$("speak-events").addEventListener("change", ({ target }) => $("event-log").setAttribute("aria-live", target.checked ? "polite" : "off"));
$("clear-events").addEventListener("click", () => $("event-list").replaceChildren());
addEventListener("hashchange", go);
document.addEventListener("visibilitychange", () => document.hidden || look());
go();
