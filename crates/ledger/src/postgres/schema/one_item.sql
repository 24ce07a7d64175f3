    <<one>>
    BEGIN
        answer := NULL;
        bytes := NULL;
        uses_left := 0;
        ends := NULL;
        IF transition = 'start' THEN
            -- The token first, as everywhere. What its grant says stands in it: see `lar.grant_ends`.
            UPDATE lar.tokens t SET uses_left = t.uses_left - 1
            WHERE t.grant_n = of_grant AND t.name = token AND t.uses_left > 0 AND t.epoch = in_epoch
                AND NOT t.requires_approval AND (NOT t.candidate OR t.unlocked_by = run)
                AND held IS NULL
            RETURNING t.uses_left, least(t.expires, t.grant_expires) INTO uses_left, ends;
            EXIT one WHEN NOT FOUND;
        END IF;
        SELECT r.records, r.head, greatest(clock, r.at) INTO records, head, at
        FROM lar.runs r
        WHERE r.n = of_run AND r.fence = holder AND r.stop_reason IS NULL
            AND (ends IS NULL OR greatest(clock, r.at) < ends)
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            IF transition = 'start' THEN
                -- Nobody has seen that it was taken, and nobody could: the row is still held.
                UPDATE lar.tokens t SET uses_left = t.uses_left + 1
                WHERE t.grant_n = of_grant AND t.name = token;
            END IF;
            EXIT one;
        END IF;
        IF transition = 'start' THEN
            INSERT INTO lar.attempts VALUES
                (of_run, attempt, token, action, 'started', 1, NULL, NULL, holder, records + 1);
        ELSIF transition IS NOT NULL THEN
            UPDATE lar.attempts a SET state = verdict, holder = holder, seq = records + 1
            FROM lar.tokens t
            WHERE transition = 'finish' AND verdict IN ('succeeded', 'failed', 'unknown')
                AND a.run = of_run AND a.id = attempt AND a.token = token
                AND a.state = 'started' AND a.fence = held
                AND t.grant_n = of_grant AND t.name = token
            RETURNING t.uses_left INTO uses_left;
            EXIT one WHEN NOT FOUND;
        END IF;

        IF piece0 IS NOT NULL THEN
            records := records + 1;
            bytes := convert_to(
                piece0 || encode(head, 'hex') || piece1 || records::text || piece2
                    || lar.rfc3339(at) || piece3,
                'UTF8');
            -- RFC 9162, section 2.1.1: a leaf's hash.
            head := sha256('\x00'::bytea || bytes);
            INSERT INTO lar.records VALUES (of_run, records, head, bytes, nonce);
            IF opening IS NOT NULL THEN
                INSERT INTO lar.openings SELECT of_run, records, o.place, o.line
                FROM unnest(string_to_array(opening, E'\n')) WITH ORDINALITY AS o (line, place);
            END IF;
        END IF;
        IF page IS NOT NULL THEN
            INSERT INTO lar.journal
            SELECT of_run, r.pages + 1, page, nonce FROM lar.runs r WHERE r.n = of_run;
        END IF;
        UPDATE lar.runs r SET
            records = records, head = head,
            at = CASE WHEN bytes IS NULL THEN r.at ELSE at END,
            pages = r.pages + (page IS NOT NULL)::integer,
            lease_until = greatest(r.lease_until, least(at + r.lease_ms, 253402128000000))
        WHERE r.n = of_run;
        answer := int8send(records) || int8send(at) || int8send(uses_left) || head;
    END one;
