// A small client of graphql-transport-ws: one connection, which is never used again once closed.

const PROTOCOL = "graphql-transport-ws";
const PATIENCE = 10_000; // ms for an acknowledgement, or for a sign of life after a ping
const BEAT = 25_000; // ms between our pings: shorter than proxies let a silent connection live
const NOBODY = 1006; // what browsers say of a connection that broke without a close frame

export class Socket {
  #connection;
  #whenClosed;
  #handlers = new Map(); // id of an operation → what takes its messages
  #beat;
  #deadline;

  // whenReady: the server let the token in; whenClosed(code): once, whoever closed it but close().
  constructor(token, { whenReady, whenClosed }) {
    this.#whenClosed = whenClosed;
    const url = new URL("graphql", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    this.#connection = new WebSocket(url, PROTOCOL);
    this.#connection.onopen = () =>
      this.#send({ type: "connection_init", payload: { Authorization: `Bearer ${token}` } });
    this.#connection.onmessage = ({ data }) => this.#take(JSON.parse(data), whenReady);
    this.#connection.onclose = ({ code }) => this.#end(code);
    this.#expectSomething();
  }

  // handlers: next(data), error(errors); each may be left out.
  start(query, handlers) {
    const id = String(this.#handlers.size + 1);
    this.#handlers.set(id, handlers);
    this.#send({ id, type: "subscribe", payload: { query } });
  }

  close() {
    this.#whenClosed = () => {};
    this.#end(NOBODY);
  }

  #send(message) {
    if (this.#connection.readyState === WebSocket.OPEN) {
      this.#connection.send(JSON.stringify(message));
    }
  }

  #take({ type, id, payload }, whenReady) {
    clearTimeout(this.#deadline); // whatever it says, the other end is alive
    if (type === "connection_ack") {
      this.#beat = setInterval(() => this.#ping(), BEAT);
      whenReady();
    } else if (type === "ping") {
      this.#send({ type: "pong", payload });
    } else if (type === "next" && !payload.errors) {
      this.#handlers.get(id)?.next?.(payload.data);
    } else if (type === "next" || type === "error") {
      this.#handlers.get(id)?.error?.(type === "next" ? payload.errors : payload);
    }
  }

  #ping() {
    this.#send({ type: "ping" });
    this.#expectSomething();
  }

  // A network that went away closes nothing: the browser would notice after minutes.
  #expectSomething() {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#end(NOBODY), PATIENCE);
  }

  #end(code) {
    clearTimeout(this.#deadline);
    clearInterval(this.#beat);
    this.#connection.onclose = this.#connection.onmessage = null;
    this.#connection.close();
    this.#whenClosed(code);
    this.#whenClosed = () => {};
  }
}
