-- calculation: filter, classes of the hour, counted characters
SELECT auction, bidder, 0.908 * price AS price,
  CASE
    WHEN date_part('hour', ts) >= 8 AND date_part('hour', ts) <= 18 THEN 'dayTime'
    WHEN date_part('hour', ts) <= 6 OR date_part('hour', ts) >= 20 THEN 'nightTime'
    ELSE 'otherTime'
  END AS bid_time_type,
  ts AS date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000
