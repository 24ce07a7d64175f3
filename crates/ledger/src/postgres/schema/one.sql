-- One change by itself, or a record or a page, where nothing speaks against it: a start without a hold, an
-- outcome at its fence. Few statements, and no arrays to take apart: what `lar.commit` does for a lone caller
-- in half the time. Whatever is anything else changes nothing here and has no number in the answer:
-- `lar.commit` makes it, or says why not.
CREATE FUNCTION lar.commit_one(
    run text, holder bigint, nonce bytea,
    -- Null where nothing changes and only a record or a page is added.
    transition text, attempt bytea, token text, action bytea, held bigint, verdict text,
    piece0 text, piece1 text, piece2 text, piece3 text, opening text, page bytea,
    OUT seq bigint, OUT hash bytea, OUT at bigint, OUT uses_left bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    clock bigint := lar.tick();
    of_run bigint;
    of_grant bigint;
    ends bigint;
    bytes bytea;
BEGIN
    uses_left := 0;
    IF transition = 'start' THEN
        -- The token first, as everywhere: who ends a grant takes all its tokens before, so that what is read
        -- of the grant below stays.
        UPDATE lar.tokens t SET uses_left = t.uses_left - 1
        FROM lar.runs r
        WHERE r.id = commit_one.run AND t.grant_n = r.grant_n AND t.name = commit_one.token
            AND t.uses_left > 0 AND NOT t.requires_approval AND commit_one.held IS NULL
            AND NOT (t.candidate AND t.unlocked_by IS DISTINCT FROM r.id)
            AND NOT EXISTS (SELECT FROM lar.attempts a
                            WHERE a.run = r.n AND a.id = commit_one.attempt)
        RETURNING r.n, t.grant_n, t.uses_left, t.expires INTO of_run, of_grant, uses_left, ends;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        SELECT r.records, r.head, greatest(clock, r.at) INTO seq, hash, at
        FROM lar.runs r
        JOIN lar.grants g ON g.n = r.grant_n
        CROSS JOIN lar.ledger l
        WHERE r.n = of_run AND r.fence = commit_one.holder AND r.stop_reason IS NULL
            AND g.revoked_at IS NULL AND g.epoch = l.epoch
            AND (g.expires IS NULL OR greatest(clock, r.at) < g.expires)
            AND (ends IS NULL OR greatest(clock, r.at) < ends)
        FOR NO KEY UPDATE OF r;
        IF NOT FOUND THEN
            -- Nobody has seen it, and nobody could: the row is still held.
            UPDATE lar.tokens t SET uses_left = t.uses_left + 1
            WHERE t.grant_n = of_grant AND t.name = commit_one.token;
            RETURN;
        END IF;
        INSERT INTO lar.attempts VALUES
            (of_run, attempt, token, action, 'started', 1, NULL, NULL, holder, seq + 1);
    ELSE
        SELECT r.n, r.grant_n, r.records, r.head, greatest(clock, r.at)
        INTO of_run, of_grant, seq, hash, at
        FROM lar.runs r
        WHERE r.id = commit_one.run AND r.fence = commit_one.holder AND r.stop_reason IS NULL
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        IF transition IS NOT NULL THEN
            UPDATE lar.attempts a SET
                state = commit_one.verdict, holder = commit_one.holder, seq = commit_one.seq + 1
            FROM lar.tokens t
            WHERE commit_one.transition = 'finish'
                AND commit_one.verdict IN ('succeeded', 'failed', 'unknown')
                AND a.run = of_run AND a.id = commit_one.attempt AND a.token = commit_one.token
                AND a.state = 'started' AND a.fence = commit_one.held
                AND t.grant_n = of_grant AND t.name = commit_one.token
            RETURNING t.uses_left INTO uses_left;
            IF NOT FOUND THEN
                seq := NULL;
                RETURN;
            END IF;
        END IF;
    END IF;

    IF piece0 IS NOT NULL THEN
        seq := seq + 1;
        bytes := convert_to(
            piece0 || encode(hash, 'hex') || piece1 || seq || piece2 || lar.rfc3339(at) || piece3,
            'UTF8');
        -- RFC 9162, section 2.1.1: a leaf's hash.
        hash := sha256('\x00'::bytea || bytes);
        INSERT INTO lar.records VALUES (of_run, seq, hash, bytes, nonce);
        IF opening IS NOT NULL THEN
            INSERT INTO lar.openings SELECT of_run, commit_one.seq, o.place, o.line
            FROM unnest(string_to_array(opening, E'\n')) WITH ORDINALITY AS o (line, place);
        END IF;
    END IF;
    IF page IS NOT NULL THEN
        INSERT INTO lar.journal
        SELECT r.n, r.pages + 1, commit_one.page, commit_one.nonce FROM lar.runs r WHERE r.n = of_run;
    END IF;
    UPDATE lar.runs r SET
        records = commit_one.seq, head = commit_one.hash,
        at = CASE WHEN bytes IS NULL THEN r.at ELSE commit_one.at END,
        pages = r.pages + (page IS NOT NULL)::integer,
        lease_until = greatest(r.lease_until, least(commit_one.at + r.lease_ms, 253402128000000))
    WHERE r.n = of_run;
END $$;
