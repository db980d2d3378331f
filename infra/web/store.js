// State from the worker: first all of it, then changes. The stream reconnects; until then the state is stale.

const STALE_MS = 6000;
const MOST_ROWS = 2000;

export class Store {
  constructor(path, notify) {
    this.path = path;
    this.notify = notify;
    this.sections = {};
    this.facts = null;
    this.histories = {};
    this.rows = 0;
    this.now = 0;
    this.heard = 0;
    this.phase = "connecting";
    setInterval(() => this.#check(), 500);
    // A browser keeps a page that was left, with its connection, and allows six of them to a server.
    addEventListener("pagehide", () => this.source.close());
    addEventListener("pageshow", (event) => event.persisted && this.#connect());
    this.#connect();
  }

  #connect() {
    this.source?.close();
    this.source = new EventSource(this.path);
    this.opened = performance.now();
    this.source.addEventListener("whole", (event) => this.#whole(JSON.parse(event.data)));
    this.source.addEventListener("change", (event) => this.#change(JSON.parse(event.data)));
    this.source.addEventListener("beat", (event) => this.#hear(JSON.parse(event.data).now));
    this.source.addEventListener("error", () => this.#become(this.facts ? "stale" : "connecting"));
  }

  #hear(now) {
    this.now = now;
    this.heard = performance.now();
    this.#become("live");
  }

  #whole(message) {
    this.facts = message.facts;
    this.sections = message.sections;
    this.histories = message.histories;
    this.rows = message.row;
    this.#hear(message.now);
    this.notify(Object.keys(message.sections), true);
  }

  #change(message) {
    Object.assign(this.sections, message.sections);
    // What the whole had already comes again with the first change.
    const rows = message.rows.filter(([number]) => number > this.rows);
    for (const [number, name, at, ts, values] of rows) {
      this.rows = number;
      this.#row(this.histories[name], at, ts, values);
    }
    this.#hear(message.now);
    this.notify(Object.keys(message.sections), rows.length > 0);
  }

  #row(history, at, ts, values) {
    if (!history) return;
    history.at.push(at);
    history.ts.push(ts);
    for (const name of Object.keys(values)) history.values[name] ??= new Array(history.at.length - 1).fill(null);
    for (const [name, column] of Object.entries(history.values)) column.push(values[name] ?? null);
    if (history.at.length <= MOST_ROWS) return;
    const thin = (column) => column.filter((_, index) => index % 2 === 0 || index === column.length - 1);
    history.at = thin(history.at);
    history.ts = thin(history.ts);
    for (const name of Object.keys(history.values)) history.values[name] = thin(history.values[name]);
  }

  #check() {
    const silent = performance.now() - Math.max(this.heard, this.opened);
    if (silent > STALE_MS) {
      this.#become(this.facts ? "stale" : "connecting");
      // A connection that is open and says nothing, or that the browser has given up, is made anew.
      if (silent > 2 * STALE_MS || this.source.readyState === EventSource.CLOSED) this.#connect();
    }
    this.notify([], false);
  }

  #become(phase) {
    if (phase === this.phase) return;
    this.phase = phase;
    this.notify([], false);
  }

  /** How long nothing was heard, ms. */
  get silence() {
    return this.heard ? performance.now() - this.heard : 0;
  }

  /** Brokers' time now, as far as it is known, ms. */
  get time() {
    return this.now + this.silence;
  }
}
