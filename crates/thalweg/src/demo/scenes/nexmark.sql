-- An auction house: the bids of each sales channel in the last ten seconds, every second.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, date_time TIMESTAMP,
  WATERMARK FOR date_time AS date_time - INTERVAL '1' SECOND
) WITH (connector = 'generator', events = 'nexmark', type = 'bid');

SELECT channel, window_end AS until, count(*) AS bids, count(DISTINCT auction) AS auctions,
  round(avg(price) / 100.0, 2) AS average_price, max(price) / 100.0 AS highest_price
FROM HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '1' SECOND, INTERVAL '10' SECOND)
WHERE channel IN ('Google', 'Facebook', 'Baidu', 'Apple')
GROUP BY channel, window_start, window_end;
