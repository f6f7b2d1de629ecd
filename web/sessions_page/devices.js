// The sessions that the page shows. What has ended stays in its place, marked, until the person
// comes back to the window: nothing moves under a finger that is about to press.

export class Devices {
  #sessions = new Map(); // id → session, in the order shown; `hasEnded` marks what is over
  #watchers = new Set();

  // listener(event): CREATED, UPDATED, REVOKED or EXPIRED with its session, or READ. Answers what
  // ends it.
  watch(listener) {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  get all() {
    return [...this.#sessions.values()];
  }

  get mine() {
    return this.all.find((session) => session.isCurrent);
  }

  get others() {
    return this.all.filter((session) => !session.isCurrent && !session.hasEnded);
  }

  // A list read anew: what it lacks has ended in the meantime.
  replace(list) {
    const isFirst = this.#sessions.size === 0;
    const found = new Set(list.map(({ id }) => id));
    for (const session of list) {
      this.#put(isFirst ? null : "CREATED", session);
    }
    for (const session of this.all.filter(({ id, hasEnded }) => !found.has(id) && !hasEnded)) {
      this.#end("REVOKED", session);
    }
    this.#tell({ kind: "READ" });
  }

  // One event. Twice the same is once: an act of one's own comes back as an event, too.
  take({ kind, session }) {
    if (kind === "REVOKED" || kind === "EXPIRED") {
      this.#end(kind, session);
    } else {
      this.#put(kind, session);
    }
  }

  forgetEnded() {
    for (const { id } of this.all.filter(({ hasEnded }) => hasEnded)) {
      this.#sessions.delete(id);
    }
  }

  clear() {
    this.#sessions.clear();
  }

  #put(kind, session) {
    const known = this.#sessions.get(session.id);
    if (known?.hasEnded) {
      return; // an older word than that of its end
    }
    this.#sessions.set(session.id, { ...session, isCurrent: session.isCurrent || known?.isCurrent });
    if (!known && kind) {
      this.#tell({ kind: "CREATED", session });
    } else if (known && known.label !== session.label) {
      this.#tell({ kind: "UPDATED", session, before: known });
    }
  }

  #end(kind, session) {
    const known = this.#sessions.get(session.id);
    if (known && !known.hasEnded) {
      this.#sessions.set(session.id, { ...known, ...session, isCurrent: false, hasEnded: true });
      this.#tell({ kind, session });
    }
  }

  #tell(event) {
    for (const listener of this.#watchers) {
      listener(event);
    }
  }
}
