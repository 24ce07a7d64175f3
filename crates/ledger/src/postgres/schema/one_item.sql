    <<one>>
    BEGIN
        answer := NULL;
        bytes := NULL;
        records := seen;
        uses_left := 0;
        IF transition = 'start' THEN
            -- What its grant says stands in the token too: see `lar.grant_ends`.
            UPDATE lar.tokens t SET uses_left = t.uses_left - 1
            WHERE t.grant_n = of_grant AND t.name = token AND t.uses_left > 0 AND t.epoch = in_epoch
                AND NOT t.requires_approval AND (NOT t.candidate OR t.unlocked_by = run)
                AND (t.expires IS NULL OR at < t.expires)
                AND (t.grant_expires IS NULL OR at < t.grant_expires)
                AND held IS NULL
            RETURNING t.uses_left INTO uses_left;
            EXIT one WHEN NOT FOUND;
            INSERT INTO lar.attempts VALUES
                (of_run, attempt, token, action, 'started', 1, NULL, NULL, holder, seen + 1);
        ELSIF transition IS NOT NULL THEN
            UPDATE lar.attempts a SET state = verdict, holder = holder, seq = seen + 1
            FROM lar.tokens t
            WHERE transition = 'finish' AND verdict IN ('succeeded', 'failed', 'unknown')
                AND a.run = of_run AND a.id = attempt AND a.token = token
                AND a.state = 'started' AND a.fence = held
                AND t.grant_n = of_grant AND t.name = token
            RETURNING t.uses_left INTO uses_left;
            EXIT one WHEN NOT FOUND;
        END IF;

        IF piece0 IS NOT NULL THEN
            records := seen + 1;
            bytes := convert_to(
                piece0 || encode(head, 'hex') || piece1 || records::text || piece2
                    || lar.rfc3339(at) || piece3,
                'UTF8');
            -- RFC 9162, section 2.1.1: a leaf's hash.
            head := sha256('\x00'::bytea || bytes);
        END IF;
        UPDATE lar.runs r SET
            records = records, head = head,
            at = CASE WHEN bytes IS NULL THEN r.at ELSE at END,
            pages = r.pages + (page IS NOT NULL)::integer,
            lease_until = greatest(r.lease_until, least(at + r.lease_ms, 253402128000000))
        WHERE r.n = of_run AND r.records = seen AND r.fence = holder AND r.stop_reason IS NULL;
        IF NOT FOUND THEN
            PERFORM lar.stale();
        END IF;
        IF piece0 IS NOT NULL THEN
            INSERT INTO lar.records VALUES (of_run, records, head, bytes, nonce);
            IF opening IS NOT NULL THEN
                INSERT INTO lar.openings SELECT of_run, records, o.place, o.line
                FROM unnest(string_to_array(opening, E'\n')) WITH ORDINALITY AS o (line, place);
            END IF;
        END IF;
        IF page IS NOT NULL THEN
            INSERT INTO lar.journal
            SELECT of_run, r.pages, page, nonce FROM lar.runs r WHERE r.n = of_run;
        END IF;
        answer := int8send(records) || int8send(at) || int8send(uses_left) || head;
    END one;
