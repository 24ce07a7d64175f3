-- What the runtime's role may call. Each function is one transition of the ledger, run with the
-- owner's rights; the role itself can change no table.

-- The time, if the clock can be trusted. The highest that was given out is noted every second; two
-- transactions never wait for each other there.
CREATE FUNCTION lar.tick() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    highest bigint := (SELECT c.millis FROM lar.clock c);
BEGIN
    IF now < highest - 5000 THEN
        RAISE EXCEPTION '%', (highest - now) / 1000 USING ERRCODE = 'LR001';
    END IF;
    IF now >= highest + 1000 THEN
        UPDATE lar.clock SET millis = now
        WHERE one IN (SELECT c.one FROM lar.clock c WHERE c.millis < now FOR UPDATE SKIP LOCKED);
    END IF;
    RETURN now;
END $$;

-- Commits something, and nothing new. Where commits wait for a standby, this one does, and so says
-- that all before it are there.
CREATE FUNCTION lar.barrier() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE lar.clock SET millis = millis
$$;

-- RFC 3339 in UTC with three decimals, as the records have it.
CREATE FUNCTION lar.rfc3339(millis bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(timestamp 'epoch' + millis * interval '1 millisecond',
                   'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- Makes changes, each with its record or without, or records and pages alone. Each item is made
-- whole or not at all; one that is refused holds no other up. A record comes in four pieces, between
-- which its predecessor's hash, its number and its time are put here, under the lock on its run.
--
-- `again` says that an earlier call with the same nonces may have been made: then what was written
-- by it is found and not written again.
CREATE FUNCTION lar.commit(
    again boolean,
    -- A fence is null where a step comes from outside the run: `expire` and `resolve`.
    runs text[], fences bigint[], nonces bytea[],
    attempts bytea[], tokens text[], actions bytea[], transitions text[], helds bigint[],
    leases bigint[], not_afters bigint[], verdicts text[],
    -- Names of tokens to unlock, with line feeds between them.
    unlocks text[],
    pieces0 text[], pieces1 text[], pieces2 text[], pieces3 text[],
    -- What the record commits to, with line feeds between the openings.
    openings text[],
    pages bytea[]
) RETURNS TABLE (
    item bigint, code text, what text, detail bigint,
    seq bigint, hash bytea, at bigint, fence bigint, uses_left bigint, approved_until bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    clock bigint := lar.tick();
    now bigint;
    i record;
    r lar.runs;
    g record;
    t lar.tokens;
    a lar.attempts;
    s lar.step;
    known boolean := false;
    written boolean := false;
    alone boolean := cardinality(runs) = 1;
    bytes bytea;
    names text[];
BEGIN
    IF again THEN
        -- What is only found must be as durable as what is written.
        PERFORM lar.barrier();
    END IF;
    -- What is read of a grant is read after its token's row was taken: whoever ends a grant takes all
    -- its tokens first, so that no start comes after the end of its grant.
    IF NOT alone THEN
        -- All batches take their tokens in one order, and then their runs, so that none waits for
        -- another in a circle.
        PERFORM FROM unnest(runs, tokens, transitions) AS w (run, token, transition)
        JOIN lar.runs r ON r.id = w.run
        JOIN lar.tokens t ON t.grant_n = r.grant_n AND t.name = w.token
        WHERE w.transition NOT IN ('finish', 'approve', 'resolve')
        ORDER BY t.grant_n, t.name FOR NO KEY UPDATE OF t;
        PERFORM FROM lar.runs r WHERE r.id = ANY (runs) ORDER BY r.id FOR NO KEY UPDATE;
    END IF;

    FOR i IN
        SELECT * FROM unnest(runs, fences, nonces, attempts, tokens, actions, transitions, helds,
                             leases, not_afters, verdicts, unlocks, pieces0, pieces1, pieces2,
                             pieces3, openings, pages)
        WITH ORDINALITY AS w (run, fence, nonce, attempt, token, action, transition, held, lease_ms,
                              not_after, verdict, unlock, piece0, piece1, piece2, piece3, opening,
                              page, item)
        ORDER BY w.run, w.item
    LOOP
        IF NOT known OR r.id <> i.run THEN
            IF written THEN
                UPDATE lar.runs SET records = r.records, head = r.head, at = r.at,
                    lease_until = r.lease_until, pages = r.pages WHERE n = r.n;
                written := false;
            END IF;
            SELECT * INTO r FROM lar.runs w WHERE w.id = i.run FOR NO KEY UPDATE;
            known := FOUND;
        END IF;
        item := i.item;
        code := NULL;
        what := NULL;
        detail := NULL;
        seq := NULL;
        hash := NULL;
        at := NULL;
        fence := 0;
        uses_left := 0;
        approved_until := NULL;
        now := greatest(clock, r.at);

        IF NOT known THEN
            code := 'unknown_run';
        ELSIF again THEN
            SELECT 'found', w.seq INTO code, seq FROM lar.records w
            WHERE w.run = r.n AND w.nonce = i.nonce;
            IF NOT FOUND AND i.page IS NOT NULL THEN
                SELECT 'found', r.records INTO code, seq FROM lar.journal w
                WHERE w.run = r.n AND w.nonce = i.nonce;
            END IF;
        END IF;
        -- Whoever has no hold on the run says what is said from outside, and nothing else.
        IF code IS NULL AND i.fence IS NULL
            AND coalesce(i.transition, '') NOT IN ('expire', 'resolve')
        THEN
            code := 'run_lost';
        END IF;
        IF code IS NULL AND i.fence IS NOT NULL THEN
            IF r.stop_reason IS NOT NULL THEN
                code := 'run_closed';
            ELSIF r.fence <> i.fence THEN
                code := 'run_lost';
            END IF;
        END IF;
        IF code IS NULL AND i.unlock IS NOT NULL THEN
            names := string_to_array(i.unlock, E'\n');
            SELECT CASE WHEN w.name IS NULL THEN 'unknown_token' ELSE 'locked' END, wanted.name
            INTO code, what
            FROM unnest(names) WITH ORDINALITY AS wanted (name, place)
            LEFT JOIN lar.tokens w ON w.grant_n = r.grant_n AND w.name = wanted.name
            WHERE w.candidate IS NOT TRUE OR w.unlocked_by IS NOT NULL
            ORDER BY wanted.place LIMIT 1;
        END IF;

        IF code IS NULL AND i.transition IS NOT NULL THEN
            SELECT * INTO a FROM lar.attempts w WHERE w.run = r.n AND w.id = i.attempt;
            IF a.token <> i.token THEN
                code := 'out_of_order';
            END IF;
            IF alone AND i.transition NOT IN ('finish', 'approve', 'resolve') THEN
                SELECT * INTO t FROM lar.tokens w
                WHERE w.grant_n = r.grant_n AND w.name = i.token FOR NO KEY UPDATE;
            ELSE
                SELECT * INTO t FROM lar.tokens w
                WHERE w.grant_n = r.grant_n AND w.name = i.token;
            END IF;
            IF code IS NULL AND NOT FOUND THEN
                code := 'unknown_token';
                what := i.token;
            END IF;
            IF code IS NULL THEN
                SELECT w.revoked_at IS NOT NULL AS revoked, w.expires,
                       w.epoch <> l.epoch AS quarantined
                INTO g FROM lar.grants w CROSS JOIN lar.ledger l WHERE w.n = r.grant_n;
                s := lar.next(
                    r.fence, g.revoked, g.expires, g.quarantined,
                    t.granted, t.uses_left, t.expires, t.requires_approval,
                    t.candidate AND t.unlocked_by IS DISTINCT FROM r.id,
                    a.state, a.fence, a.lease_until, a.action, a.approved_until,
                    now, coalesce(i.fence, r.fence), i.action, i.transition, i.held, i.lease_ms,
                    i.not_after, i.verdict);
                code := s.conflict;
                detail := s.detail;
                IF code = 'no_use_left' THEN
                    PERFORM FROM lar.holds w WHERE w.grant_n = r.grant_n AND w.token = i.token
                        AND w.lease_until < now;
                    IF FOUND THEN
                        code := 'holds_ran_out';
                    END IF;
                END IF;
            END IF;
        END IF;

        IF code IS NULL THEN
            IF i.transition IS NOT NULL THEN
                fence := s.fence;
                uses_left := t.uses_left + s.change;
                IF s.change <> 0 THEN
                    UPDATE lar.tokens w SET uses_left = w.uses_left + s.change
                    WHERE w.grant_n = r.grant_n AND w.name = i.token;
                END IF;
                IF a.id IS NULL THEN
                    INSERT INTO lar.attempts VALUES (r.n, i.attempt, i.token, i.action, s.state,
                        s.fence, s.lease_until, s.approved_until, r.fence, r.records + 1);
                ELSE
                    UPDATE lar.attempts w SET state = s.state, fence = s.fence,
                        lease_until = s.lease_until, approved_until = s.approved_until,
                        action = coalesce(s.action, w.action), holder = r.fence,
                        seq = r.records + 1
                    WHERE w.run = r.n AND w.id = i.attempt;
                END IF;
                IF s.state = 'reserved' THEN
                    approved_until := s.approved_until;
                    INSERT INTO lar.holds VALUES (r.grant_n, i.token, r.n, i.attempt, s.lease_until)
                    ON CONFLICT ON CONSTRAINT holds_pkey DO NOTHING;
                ELSIF a.state = 'reserved' THEN
                    DELETE FROM lar.holds w WHERE w.grant_n = r.grant_n AND w.token = i.token
                        AND w.run = r.n AND w.attempt = i.attempt;
                END IF;
            END IF;
            IF i.unlock IS NOT NULL THEN
                UPDATE lar.tokens w SET unlocked_by = r.id
                WHERE w.grant_n = r.grant_n AND w.name = ANY (names);
            END IF;
            IF i.piece0 IS NOT NULL THEN
                r.records := r.records + 1;
                r.at := now;
                bytes := convert_to(
                    i.piece0 || encode(r.head, 'hex') || i.piece1 || r.records || i.piece2
                        || lar.rfc3339(now) || i.piece3,
                    'UTF8');
                -- RFC 9162, section 2.1.1: a leaf's hash.
                r.head := sha256('\x00'::bytea || bytes);
                INSERT INTO lar.records VALUES (r.n, r.records, r.head, bytes, i.nonce);
                IF i.opening IS NOT NULL THEN
                    INSERT INTO lar.openings SELECT r.n, r.records, o.place, o.line
                    FROM unnest(string_to_array(i.opening, E'\n')) WITH ORDINALITY AS o (line, place);
                END IF;
                IF r.stop_reason IS NOT NULL THEN
                    INSERT INTO lar.ended VALUES (r.n, r.records);
                END IF;
            END IF;
            IF i.page IS NOT NULL THEN
                r.pages := r.pages + 1;
                INSERT INTO lar.journal VALUES (r.n, r.pages, i.page, i.nonce);
            END IF;
            IF i.fence IS NOT NULL THEN
                r.lease_until := greatest(r.lease_until, least(now + r.lease_ms, 253402128000000));
            END IF;
            written := true;
            seq := r.records;
            hash := r.head;
            at := now;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF written THEN
        UPDATE lar.runs SET records = r.records, head = r.head, at = r.at,
            lease_until = r.lease_until, pages = r.pages WHERE n = r.n;
    END IF;
END $$;
