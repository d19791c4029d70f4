//! The tables. Money is integer micro-dollars, times are milliseconds UTC, days are `YYYY-MM-DD` in
//! the zone that `meta` names. Neither keys nor answers are kept anywhere.

/// Says in the file's header whose it is: `Solv`.
pub(super) const APPLICATION_ID: i32 = 0x536F_6C76;

/// The version of the tables that this program writes.
pub(super) const VERSION: i32 = 2;

pub(super) const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Accepted solves that were not forgotten yet.
CREATE TABLE tasks (
    solve INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    task_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    captcha_type TEXT NOT NULL,
    price INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    source_ip TEXT,
    page TEXT,
    pingback INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'ready', 'offered', 'settled')),
    verdict TEXT,
    UNIQUE (account, task_id)
) STRICT;

-- The log. `outcome` is NULL only where money was settled before a verdict came.
CREATE TABLE solves (
    solve INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    task_id TEXT,
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    captcha_type TEXT NOT NULL,
    outcome TEXT,
    error_code TEXT,
    duration_ms INTEGER NOT NULL,
    price INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    source_ip TEXT,
    page TEXT,
    charged INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    settled_at INTEGER,
    thread_ms INTEGER
) STRICT;
CREATE INDEX solves_by_tenant ON solves (tenant, submitted_at);
CREATE INDEX solves_by_time ON solves (submitted_at);

-- What log rows that were pruned had been charged, so that the audit still adds up.
CREATE TABLE pruned (tenant TEXT PRIMARY KEY, micros INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Every movement of money, once. Charges are negative and name no wallet; the rest names the wallet
-- that it went to.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,
    cause TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('opening', 'credit', 'adjustment', 'charge')),
    tenant TEXT NOT NULL,
    key_id TEXT,
    wallet TEXT CHECK (wallet IN ('tenant', 'key')),
    amount INTEGER NOT NULL,
    at INTEGER NOT NULL,
    day TEXT NOT NULL,
    captcha_type TEXT,
    account TEXT,
    task_id TEXT,
    solve INTEGER,
    note TEXT,
    CHECK ((kind = 'charge') = (substr(cause, 1, 7) = 'charge:')),
    CHECK (CASE kind
        WHEN 'charge' THEN amount <= 0 AND wallet IS NULL AND key_id IS NOT NULL
            AND captcha_type IS NOT NULL AND account IS NOT NULL AND task_id IS NOT NULL
            AND solve IS NOT NULL
        ELSE (amount >= 0 OR kind = 'adjustment') AND wallet IS NOT NULL
            AND (wallet = 'key') = (key_id IS NOT NULL)
        END)
) STRICT;
CREATE INDEX ledger_by_day ON ledger (tenant, day);
CREATE INDEX ledger_funds ON ledger (tenant, key_id, amount, cause) WHERE kind <> 'charge';
CREATE TRIGGER ledger_keeps BEFORE UPDATE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
CREATE TRIGGER ledger_stays BEFORE DELETE ON ledger BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;

-- Charges added up, written with the ledger row that they come from; a start reads these instead.
CREATE TABLE usage (
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    day TEXT NOT NULL,
    captcha_type TEXT NOT NULL,
    solves INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (tenant, key_id, day, captcha_type)
) STRICT, WITHOUT ROWID;

-- SHA-256 of keys that were made or taken back at run time. `settings` is NULL where the config has them.
CREATE TABLE keys (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    tenant TEXT NOT NULL,
    key_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    settings TEXT,
    note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Thread time of settled solves, charged or not; what a thread plan's cost is allocated by.
CREATE TABLE thread_time (
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    day TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (account, tenant, day)
) STRICT, WITHOUT ROWID;

-- When a webhook was last posted about something.
CREATE TABLE notified (about TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- SLI events per minute since the epoch.
CREATE TABLE sli (
    minute INTEGER NOT NULL,
    slo TEXT NOT NULL CHECK (slo IN ('success', 'latency')),
    captcha_type TEXT NOT NULL,
    good INTEGER NOT NULL,
    bad INTEGER NOT NULL,
    PRIMARY KEY (minute, slo, captcha_type)
) STRICT, WITHOUT ROWID;
";

/// From version 1, which knew no keys made at run time: its `keys` held rows that no program wrote but
/// this one reads.
pub(super) const FROM_1: &str = "
ALTER TABLE keys ADD COLUMN settings TEXT;
ALTER TABLE keys ADD COLUMN note TEXT NOT NULL DEFAULT '';
CREATE TABLE thread_time (
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    day TEXT NOT NULL,
    ms INTEGER NOT NULL,
    PRIMARY KEY (account, tenant, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE notified (about TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";
