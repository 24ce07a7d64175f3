-- What is plain, and where nothing speaks against it: a start without a hold, an outcome at its fence, or a
-- record or a page alone. Few statements, each of one row: what `lar.commit` does in half the time. Whatever is
-- anything else changes nothing here and has no answer: `lar.commit` makes it, or says why not. An attempt that
-- was made before is an error (`unique_violation`), after which nothing of the call is made, and so is a run that
-- somebody else has changed in between (`LR002`).
--
-- An answer is the number of the run's last record, its time, and the uses that are left, eight bytes each,
-- and that record's hash.

-- One change by itself.
CREATE FUNCTION lar.commit_one(
    run text, holder bigint, nonce bytea,
    -- Null where nothing changes and only a record or a page is added.
    transition text, attempt bytea, token text, action bytea, held bigint, verdict text,
    piece0 text, piece1 text, piece2 text, piece3 text, opening text, page bytea
) RETURNS bytea
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    answer bytea;
{variables}
BEGIN
    -- No epoch begins from here on to the end of the transaction, and what is read next is not older.
    LOCK TABLE lar.tokens IN ROW EXCLUSIVE MODE;
    SELECT c.millis, l.epoch INTO highest, in_epoch FROM lar.clock c CROSS JOIN lar.ledger l;
    IF clock NOT BETWEEN highest - 5000 AND highest + 999 THEN
        PERFORM lar.tick();
    END IF;
    SELECT r.n, r.grant_n, r.records, r.head, greatest(clock, r.at)
    INTO of_run, of_grant, seen, head, at
    FROM lar.runs r WHERE r.id = run AND r.fence = holder AND r.stop_reason IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
{item}
    RETURN answer;
END $$;

-- Several at once, one a run. All take their tokens in one order, so that none waits for another in a circle.
CREATE FUNCTION lar.commit_some(
    runs text[], holders bigint[], nonces bytea[],
    transitions text[], attempts bytea[], tokens text[], actions bytea[], helds bigint[],
    verdicts text[], pieces0 text[], pieces1 text[], pieces2 text[], pieces3 text[],
    openings text[], pages bytea[],
    OUT item bigint, OUT answer bytea
) RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    run text;
    holder bigint;
    nonce bytea;
    transition text;
    attempt bytea;
    token text;
    action bytea;
    held bigint;
    verdict text;
    piece0 text;
    piece1 text;
    piece2 text;
    piece3 text;
    opening text;
    page bytea;
{variables}
BEGIN
    LOCK TABLE lar.tokens IN ROW EXCLUSIVE MODE;
    SELECT c.millis, l.epoch INTO highest, in_epoch FROM lar.clock c CROSS JOIN lar.ledger l;
    IF clock NOT BETWEEN highest - 5000 AND highest + 999 THEN
        PERFORM lar.tick();
    END IF;
    FOR run, holder, nonce, transition, attempt, token, action, held, verdict,
        piece0, piece1, piece2, piece3, opening, page, item,
        of_run, of_grant, seen, head, at IN
        SELECT w.*, r.n, r.grant_n, r.records, r.head, greatest(clock, r.at)
        FROM unnest(runs, holders, nonces, transitions, attempts, tokens, actions, helds, verdicts,
                    pieces0, pieces1, pieces2, pieces3, openings, pages)
            WITH ORDINALITY AS w (run, holder, nonce, transition, attempt, token, action, held,
                verdict, piece0, piece1, piece2, piece3, opening, page, item)
        JOIN lar.runs r ON r.id = w.run AND r.fence = w.holder AND r.stop_reason IS NULL
        ORDER BY r.grant_n, w.token, r.n
    LOOP
{item}
        IF answer IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END $$;
