-- the inner part of q5: bids of each auction in the last 10 s, every 2 s
SELECT auction, count(*) AS num, window_start, window_end
FROM HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)
GROUP BY auction, window_start, window_end
