"""Rules of money: accounts, holds, the journal, prices, rate limits. Integers in micro-credits."""
