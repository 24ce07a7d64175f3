-- Opening, taking over, renewing and closing a run. These are rare. What they write is decided in
-- Rust from what was read before (the core's `transact`), and made here only if nothing of that has
-- changed since and every step is one that the rule allows. Otherwise `LR002` is raised: nothing was
-- changed, and the caller reads again.

CREATE FUNCTION lar.stale() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what was read has changed' USING ERRCODE = 'LR002';
END $$;

-- Whether a time that was read from this clock is recent.
CREATE FUNCTION lar.must_be_recent(now bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF lar.tick() - now NOT BETWEEN -5000 AND 30000 THEN
        PERFORM lar.stale();
    END IF;
END $$;

-- Writes so many records that were put together by the caller, and checks that they follow the last
-- one; the openings are those of what the last of them commits to, with line feeds between them.
CREATE FUNCTION lar.append(run bigint, records bigint, head bytea, now bigint, nonce bytea,
                           sealed bytea[], count integer, openings text)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    bytes bytea;
    said json;
    latest bytea := head;
    seq bigint := records;
BEGIN
    IF cardinality(sealed) <> count THEN
        RAISE EXCEPTION 'a record is missing, or too many' USING ERRCODE = 'LR003';
    END IF;
    FOREACH bytes IN ARRAY sealed LOOP
        seq := seq + 1;
        said := convert_from(bytes, 'UTF8')::json;
        -- What is left out is as wrong as what is different.
        IF said ->> 'prev' IS DISTINCT FROM encode(latest, 'hex')
            OR (said ->> 'seq')::bigint IS DISTINCT FROM seq
            OR said ->> 'timestamp' IS DISTINCT FROM lar.rfc3339(now)
        THEN
            RAISE EXCEPTION 'a record does not follow the one before' USING ERRCODE = 'LR003';
        END IF;
        latest := sha256('\x00'::bytea || bytes);
        INSERT INTO lar.records VALUES (run, seq, latest, bytes, nonce);
    END LOOP;
    INSERT INTO lar.openings SELECT run, seq, o.place, o.line
    FROM unnest(string_to_array(openings, E'\n')) WITH ORDINALITY AS o (line, place);
    UPDATE lar.runs w SET records = seq, head = latest, at = now WHERE w.n = run;
END $$;

CREATE FUNCTION lar.open_run(
    now bigint, run text, owner text, task bytea, lease_ms bigint, nonce bytea, sealed bytea,
    -- A named grant, or else what the run's own grant is made of.
    named text, definitions text, names text[], definition bytea[], uses bigint[],
    expires bigint[], approvals boolean[], candidates boolean[],
    -- The journal's first page, if there is one, and what the record commits to.
    page bytea, openings text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    of_grant bigint;
    opened bigint;
BEGIN
    PERFORM lar.must_be_recent(now);
    IF named IS NULL THEN
        INSERT INTO lar.grants (id, issued, epoch, definitions)
        SELECT 'run/' || run, now, l.epoch, definitions FROM lar.ledger l
        ON CONFLICT DO NOTHING RETURNING n INTO of_grant;
        INSERT INTO lar.tokens
        SELECT of_grant, t.name, t.place, t.definition, t.uses, t.uses, t.expires, t.approval,
               t.candidate, NULL, g.epoch, g.expires
        FROM unnest(names, definition, uses, expires, approvals, candidates)
        WITH ORDINALITY AS t (name, definition, uses, expires, approval, candidate, place)
        JOIN lar.grants g ON g.n = of_grant;
    ELSE
        SELECT g.n INTO of_grant FROM lar.grants g JOIN lar.ledger l ON l.epoch = g.epoch
        WHERE g.id = named AND g.id NOT LIKE 'run/%' AND g.revoked_at IS NULL
            AND (g.expires IS NULL OR now < g.expires)
        FOR SHARE OF g;
    END IF;
    IF of_grant IS NULL THEN
        PERFORM lar.stale();
    END IF;
    INSERT INTO lar.runs (id, grant_n, opened, records, head, at, task, owner, fence, lease_ms,
                          lease_until, pages)
    VALUES (run, of_grant, now, 0, sha256(''::bytea), now, task, owner, 1, lease_ms,
            least(now + lease_ms, 253402128000000), CASE WHEN page IS NULL THEN 0 ELSE 1 END)
    ON CONFLICT DO NOTHING RETURNING n INTO opened;
    IF opened IS NULL THEN
        PERFORM lar.stale();
    END IF;
    PERFORM lar.append(opened, 0, sha256(''::bytea), now, nonce, ARRAY[sealed], 1, openings);
    IF page IS NOT NULL THEN
        INSERT INTO lar.journal VALUES (opened, 1, page, nonce);
    END IF;
END $$;

-- Seals the attempts of a run that are held or were started, all of them and in this order; the
-- first one's record is number `seq`.
CREATE FUNCTION lar.recover(r lar.runs, now bigint, seq bigint, open bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    attempt bytea;
    a lar.attempts;
    t lar.tokens;
    s lar.step;
BEGIN
    PERFORM FROM lar.tokens w WHERE w.grant_n = r.grant_n ORDER BY w.name FOR NO KEY UPDATE;
    FOREACH attempt IN ARRAY open LOOP
        SELECT * INTO a FROM lar.attempts w WHERE w.run = r.n AND w.id = attempt;
        SELECT * INTO t FROM lar.tokens w WHERE w.grant_n = r.grant_n AND w.name = a.token;
        s := lar.next(r.fence, false, null, false, t.granted, t.uses_left, t.expires,
                      t.requires_approval, false, a.state, a.fence, a.lease_until, a.action,
                      a.approved_until, now, r.fence, a.action, 'recover', null, null, null, null);
        IF s.conflict IS NOT NULL THEN
            PERFORM lar.stale();
        END IF;
        UPDATE lar.attempts w SET state = s.state, fence = s.fence, lease_until = null,
            approved_until = s.approved_until, holder = r.fence, seq = seq
        WHERE w.run = r.n AND w.id = attempt;
        UPDATE lar.tokens w SET uses_left = w.uses_left + s.change
        WHERE w.grant_n = r.grant_n AND w.name = a.token AND s.change <> 0;
        DELETE FROM lar.holds w WHERE w.grant_n = r.grant_n AND w.token = a.token AND w.run = r.n
            AND w.attempt = attempt;
        seq := seq + 1;
    END LOOP;
    PERFORM FROM lar.attempts w WHERE w.run = r.n AND w.state IN ('reserved', 'started');
    IF FOUND THEN
        PERFORM lar.stale();
    END IF;
END $$;

CREATE FUNCTION lar.take_run(
    now bigint, run text, seen_records bigint, seen_fence bigint, gone text, owner text,
    lease_ms bigint, nonce bytea, open bytea[], sealed bytea[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r lar.runs;
BEGIN
    PERFORM lar.must_be_recent(now);
    SELECT * INTO r FROM lar.runs w WHERE w.id = run FOR NO KEY UPDATE;
    IF r.stop_reason IS NOT NULL OR r.records <> seen_records OR r.fence <> seen_fence OR now < r.at
        OR (r.owner IS DISTINCT FROM gone AND now <= r.lease_until)
    THEN
        PERFORM lar.stale();
    END IF;
    r.fence := r.fence + 1;
    UPDATE lar.runs w SET fence = r.fence, owner = owner, lease_ms = lease_ms,
        lease_until = greatest(r.lease_until, least(now + lease_ms, 253402128000000))
    WHERE w.n = r.n;
    -- The first record says that the run was taken over.
    PERFORM lar.recover(r, now, r.records + 2, open);
    PERFORM lar.append(r.n, r.records, r.head, now, nonce, sealed,
                       cardinality(open) + 1, null);
END $$;

CREATE FUNCTION lar.close_run(
    now bigint, run text, seen_records bigint, held bigint, stop_reason text,
    keep_journal boolean, nonce bytea, open bytea[], sealed bytea[],
    -- What the accounts say is left, and what the last record commits to.
    names text[], lefts bigint[], openings text
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r lar.runs;
BEGIN
    PERFORM lar.must_be_recent(now);
    SELECT * INTO r FROM lar.runs w WHERE w.id = run FOR NO KEY UPDATE;
    IF r.stop_reason IS NOT NULL OR r.records <> seen_records OR r.fence <> held OR now < r.at THEN
        PERFORM lar.stale();
    END IF;
    PERFORM lar.recover(r, now, r.records + 1, open);
    PERFORM FROM unnest(names, lefts) AS said (name, uses_left)
    JOIN lar.tokens w ON w.grant_n = r.grant_n AND w.name = said.name
    WHERE w.uses_left <> said.uses_left;
    IF FOUND THEN
        PERFORM lar.stale();
    END IF;
    PERFORM lar.append(r.n, r.records, r.head, now, nonce, sealed,
                       cardinality(open) + 1, openings);
    UPDATE lar.runs w SET stop_reason = stop_reason,
        pages = CASE WHEN keep_journal THEN w.pages ELSE 0 END
    WHERE w.n = r.n;
    INSERT INTO lar.ended SELECT w.n, w.records FROM lar.runs w WHERE w.n = r.n;
    IF NOT keep_journal THEN
        DELETE FROM lar.journal w WHERE w.run = r.n;
    END IF;
END $$;

-- Holds a run for longer. Answers with what is wrong, or until when it is held.
CREATE FUNCTION lar.renew_run(run text, held bigint, OUT code text, OUT until bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    now bigint := lar.tick();
    r lar.runs;
BEGIN
    SELECT * INTO r FROM lar.runs w WHERE w.id = run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_run';
    ELSIF r.stop_reason IS NOT NULL THEN
        code := 'run_closed';
    ELSIF r.fence <> held THEN
        code := 'run_lost';
    ELSE
        until := greatest(r.lease_until,
                          least(greatest(now, r.at) + r.lease_ms, 253402128000000));
        UPDATE lar.runs w SET lease_until = until WHERE w.n = r.n;
    END IF;
END $$;
