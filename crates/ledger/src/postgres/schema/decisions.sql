-- What people sign about an attempt that waits for approvals. The database keeps it and judges nothing:
-- whether it counts is for whoever spends. In the words of the core's `transact::decide`.

-- Puts a decision beside the attempt that it is about, under the lock on its run, so that it either
-- comes before the yes of whoever spends or is refused. Answers with what is wrong, or with its place.
CREATE FUNCTION lar.decide(
    run text, attempt bytea, statement text, signature text, OUT code text, OUT place bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    r lar.runs;
    a lar.attempts;
BEGIN
    SELECT * INTO r FROM lar.runs w WHERE w.id = run FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        code := 'unknown_run';
        RETURN;
    ELSIF r.stop_reason IS NOT NULL THEN
        code := 'run_closed';
        RETURN;
    END IF;
    SELECT * INTO a FROM lar.attempts w WHERE w.run = r.n AND w.id = attempt;
    IF NOT FOUND THEN
        code := 'unknown_attempt';
        RETURN;
    ELSIF a.state = 'reserved' AND a.approved_until IS NOT NULL THEN
        code := 'approved';
        RETURN;
    ELSIF a.state NOT IN ('reserved', 'released') THEN
        code := 'started';
        RETURN;
    END IF;
    IF octet_length(statement) NOT BETWEEN 1 AND 4096
        OR octet_length(signature) NOT BETWEEN 1 AND 4096
    THEN
        code := 'size';
        RETURN;
    END IF;
    SELECT w.place INTO place FROM lar.decisions w
    WHERE w.run = r.n AND w.attempt = attempt AND w.statement = statement
        AND w.signature = signature;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT count(*) + 1 INTO place FROM lar.decisions w
    WHERE w.run = r.n AND w.attempt = attempt;
    IF place > 64 THEN
        code := 'full';
        RETURN;
    END IF;
    INSERT INTO lar.decisions VALUES (r.n, attempt, place, statement, signature);
END $$;
