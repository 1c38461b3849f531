"""The ledger's rules, as text tables.

Goal: every result of every operation, in order of precedence, and the balances after it.
Method: one operation a line, its expected result in the last column. Where a table tries errors,
each line fixes exactly one fault of the line before. After every line the invariants are checked
and the journal is folded by itself; a refused operation must have written nothing.

    account TEAM [exempt]                   RESULT
    grant   ID TEAM AMOUNT                  RESULT
    place   ID TEAM AMOUNT EXPIRES_AT       RESULT
    extend  ID TOTAL                        RESULT
    post    ID AMOUNT                       RESULT
    void    ID                              RESULT
    expire  ID                              RESULT
    due     LIMIT                           IDS or none
    balance TEAM                            CREDITS/HELD
    hold    ID                              STATE
    tick    SECONDS
"""

from __future__ import annotations

import random

import pytest

from actors.core.money.journal import Entry, EntryKind, fold_entries
from actors.core.money.rules import (
    AMOUNT_MICROCREDITS_MAX,
    Account,
    Accounts,
    BillingMode,
    Hold,
    HoldState,
    LedgerResult,
)


class Table:
    """Runs a table line by line against one ledger."""

    def __init__(self) -> None:
        self.ledger = Accounts()
        self.now_s = 0.0
        self.journal: list[Entry] = []

    def run(self, text: str) -> Table:
        for line in filter(None, (raw.split("#")[0].strip() for raw in text.splitlines())):
            words = line.split()
            getattr(self, f"do_{words[0]}")(*words[1:])
            self._check(line)
        return self

    def _check(self, line: str) -> None:
        self.journal += self.ledger.take_entries()
        self.ledger.check()
        for team, (credits, held) in fold_entries(self.journal).items():
            account = self.ledger.account(team)
            assert account is not None
            assert (account.credits_microcredits, account.held_microcredits) == (credits, held), (
                line
            )

    def _expect(self, result: LedgerResult, expected: str, *what: str) -> None:
        assert result == expected, f"{' '.join(what)}: expected {expected}, got {result}"
        has_entry = bool(self.ledger._entries)
        is_created = result is LedgerResult.CREATED and what[0] != "account"
        assert has_entry == is_created, f"{' '.join(what)}: an entry exactly where one is due"

    def do_account(self, team: str, *rest: str) -> None:
        mode = BillingMode.EXEMPT if rest[:-1] == ("exempt",) else BillingMode.METERED
        result = self.ledger.open_account(team, billing_mode=mode)
        self._expect(result, rest[-1], "account", team)

    def do_grant(self, grant_id: str, team: str, amount: str, expected: str) -> None:
        result = self.ledger.grant(grant_id, team, _amount(amount), now_s=self.now_s)
        self._expect(result, expected, "grant", grant_id, team, amount)

    def do_place(
        self, hold_id: str, team: str, amount: str, expires_at: str, expected: str
    ) -> None:
        result = self.ledger.place(
            hold_id, team, _amount(amount), expires_at_s=float(expires_at), now_s=self.now_s
        )
        self._expect(result, expected, "place", hold_id, team, amount)

    def do_extend(self, hold_id: str, total: str, expected: str) -> None:
        result = self.ledger.extend(hold_id, _amount(total), now_s=self.now_s)
        self._expect(result, expected, "extend", hold_id, total)

    def do_post(self, hold_id: str, amount: str, expected: str) -> None:
        result = self.ledger.post(hold_id, _amount(amount), now_s=self.now_s)
        self._expect(result, expected, "post", hold_id, amount)

    def do_void(self, hold_id: str, expected: str) -> None:
        self._expect(self.ledger.void(hold_id, now_s=self.now_s), expected, "void", hold_id)

    def do_expire(self, hold_id: str, expected: str) -> None:
        self._expect(self.ledger.expire(hold_id, now_s=self.now_s), expected, "expire", hold_id)

    def do_due(self, limit: str, expected: str) -> None:
        due = self.ledger.holds_due(self.now_s, limit=int(limit))
        assert due == ([] if expected == "none" else expected.split(","))

    def do_balance(self, team: str, expected: str) -> None:
        account = self.ledger.account(team)
        assert account is not None
        assert f"{account.credits_microcredits}/{account.held_microcredits}" == expected

    def do_hold(self, hold_id: str, expected: str) -> None:
        hold = self.ledger.hold(hold_id)
        assert (hold.state if hold else HoldState.NONE) == expected

    def do_tick(self, seconds: str) -> None:
        self.now_s += float(seconds)


def _amount(text: str) -> int:
    return AMOUNT_MICROCREDITS_MAX + int(text[3:] or 0) if text.startswith("max") else int(text)


def test_a_hold_is_posted_in_part_and_the_rest_returns() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        hold    h1                            none
        place   h1 acme 400 60                created
        balance acme                          1000/400
        hold    h1                            pending
        post    h1 150                        created
        balance acme                          850/0
        hold    h1                            posted
        """
    )


def test_a_hold_is_posted_whole_posted_nothing_or_voided() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        place   h1 acme 400 60                created
        place   h2 acme 500 60                created
        place   h3 acme 100 60                created
        balance acme                          1000/1000
        post    h1 400                        created
        post    h2 0                          created
        void    h3                            created
        balance acme                          600/0
        """
    )


def test_a_repeat_gives_exists_and_moves_nothing() -> None:
    Table().run(
        """
        account acme                          created
        account acme                          exists
        grant   g1 acme 1000                  created
        grant   g1 acme 1000                  exists
        place   h1 acme 400 60                created
        place   h1 acme 400 60                exists
        balance acme                          1000/400
        post    h1 150                        created
        post    h1 150                        exists
        place   h1 acme 400 60                exists
        place   h2 acme 100 60                created
        void    h2                            created
        void    h2                            exists
        place   h3 acme 100 60                created
        tick    60
        expire  h3                            created
        expire  h3                            exists
        balance acme                          850/0
        """
    )


def test_grants_in_precedence() -> None:
    Table().run(
        """
        account acme                          created
        account beta                          created
        grant   g1 acme 1000                  created
        grant   g1 beta -1                    exists_with_different_team
        grant   g1 acme -1                    exists_with_different_amount
        grant   g2 nobody -1                  amount_negative
        grant   g2 nobody max+1               amount_above_max
        grant   g2 nobody max                 account_not_found
        grant   g2 acme max                   exceeds_credits_max
        grant   g2 acme max-1000              created
        balance acme                          9007199254740991/0
        """
    )


def test_placements_in_precedence() -> None:
    Table().run(
        """
        account acme                          created
        account beta                          created
        grant   g1 acme 1000                  created
        place   h1 acme 400 60                created
        tick    5
        place   h1 beta -1 5                  exists_with_different_team
        place   h1 acme -1 5                  exists_with_different_amount
        place   h2 nobody -1 5                amount_negative
        place   h2 nobody max+1 5             amount_above_max
        place   h2 nobody 601 5               account_not_found
        place   h2 acme 601 5                 hold_expired
        place   h2 acme 601 6                 exceeds_credits
        place   h2 acme 600 6                 created
        place   h3 acme 0 6                   created
        balance acme                          1000/1000
        """
    )


def test_posts_in_precedence() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        post    h1 -1                         amount_negative
        post    h1 max+1                      amount_above_max
        post    h1 401                        hold_not_found
        place   h1 acme 400 60                created
        post    h1 401                        exceeds_hold_amount
        post    h1 400                        created
        post    h1 399                        exists_with_different_amount
        void    h1                            hold_already_posted
        expire  h1                            hold_already_posted
        """
    )


def test_extensions_in_precedence() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        extend  h1 -1                         amount_negative
        extend  h1 max+1                      amount_above_max
        extend  h1 max                        hold_not_found
        place   h1 acme 400 60                created
        extend  h1 max                        exceeds_credits
        extend  h1 1001                       exceeds_credits
        balance acme                          1000/400
        extend  h1 700                        created
        balance acme                          1000/700
        extend  h1 700                        exists
        extend  h1 500                        exists
        place   h1 acme 400 60                exists
        place   h2 acme 301 60                exceeds_credits
        extend  h1 1000                       created
        balance acme                          1000/1000
        post    h1 1001                       exceeds_hold_amount
        post    h1 900                        created
        balance acme                          100/0
        extend  h1 1000                       hold_already_posted
        """
    )


def test_an_extended_hold_gives_all_of_it_back() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        place   h1 acme 400 60                created
        extend  h1 500                        created
        void    h1                            created
        balance acme                          1000/0
        extend  h1 600                        hold_already_voided
        place   h2 acme 400 60                created
        extend  h2 500                        created
        tick    60
        extend  h2 600                        hold_expired
        balance acme                          1000/500
        expire  h2                            created
        balance acme                          1000/0
        extend  h2 600                        hold_expired
        """
    )


def test_an_exempt_hold_is_extended_without_credit_and_keeps_its_mode() -> None:
    Table().run(
        """
        account free exempt                   created
        place   h1 free 400 60                created
        extend  h1 9000                       created
        balance free                          0/0
        account free                          exists
        extend  h1 9999                       created
        post    h1 9999                       created
        balance free                          0/0
        """
    )


def test_resolves_of_a_resolved_hold() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        void    h1                            hold_not_found
        expire  h1                            hold_not_found
        place   h1 acme 400 60                created
        expire  h1                            hold_not_due
        void    h1                            created
        post    h1 400                        hold_already_voided
        expire  h1                            hold_already_voided
        place   h2 acme 400 60                created
        tick    60
        expire  h2                            created
        post    h2 400                        hold_expired
        void    h2                            hold_expired
        balance acme                          1000/0
        """
    )


def test_past_its_expiry_a_hold_can_only_expire() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 1000                  created
        place   h1 acme 400 60                created
        place   h2 acme 100 61                created
        place   h3 acme 100 60                created
        tick    59.999
        due     9                             none
        tick    0.001
        due     9                             h1,h3
        due     1                             h1
        post    h1 400                        hold_expired
        void    h1                            hold_expired
        hold    h1                            pending
        balance acme                          1000/600
        expire  h1                            created
        due     9                             h3
        balance acme                          1000/200
        post    h2 100                        created
        balance acme                          900/100
        """
    )


def test_an_exempt_team_is_never_blocked_or_charged() -> None:
    Table().run(
        """
        account free exempt                   created
        place   h1 free 400 60                created
        balance free                          0/0
        post    h1 401                        exceeds_hold_amount
        post    h1 400                        created
        post    h1 400                        exists
        balance free                          0/0
        place   h2 free max 60                created
        void    h2                            created
        """
    )


def test_a_hold_keeps_the_billing_mode_it_was_placed_under() -> None:
    Table().run(
        """
        account acme                          created
        grant   g1 acme 500                   created
        place   h1 acme 400 60                created
        account acme exempt                   exists
        place   h2 acme 9999 60               created
        account acme                          exists
        place   h3 acme 101 60                exceeds_credits
        post    h1 400                        created
        post    h2 9999                       created
        balance acme                          100/0
        """
    )


def test_credit_is_per_team() -> None:
    Table().run(
        """
        account acme                          created
        account beta                          created
        grant   g1 acme 100                   created
        place   h1 beta 1 60                  exceeds_credits
        place   h1 acme 1 60                  created
        balance beta                          0/0
        """
    )


def test_a_forgotten_hold_is_unknown() -> None:
    table = Table().run(
        """
        account acme                          created
        grant   g1 acme 100                   created
        place   h1 acme 10 60                 created
        post    h1 10                         created
        """
    )
    table.ledger.forget_hold("h1")
    table.ledger.forget_grant("g1")
    table.run(
        """
        hold    h1                            none
        post    h1 10                         hold_not_found
        balance acme                          90/0
        """
    )
    table.ledger.restore_grant("g1", "acme", 100)
    table.run("grant g1 acme 100 exists")


def test_a_restored_ledger_goes_on_where_it_was() -> None:
    ledger = Accounts()
    ledger.restore_account(
        Account("acme", credits_microcredits=100, held_microcredits=7, holds_open=7)
    )
    ledger.restore_hold(Hold("h1", "acme", 60, 60.0))
    ledger.restore_hold(Hold("h2", "acme", 999, 60.0, BillingMode.EXEMPT))
    ledger.check()
    account = ledger.account("acme")
    assert account == Account("acme", BillingMode.METERED, 100, 60, 2)
    assert account.available_microcredits == 40
    assert ledger.post("h1", 50, now_s=1.0) is LedgerResult.CREATED
    assert ledger.take_entries() == [Entry(EntryKind.POST, "acme", 50, 1.0, "h1")]
    assert (account.credits_microcredits, account.held_microcredits) == (50, 0)
    assert repr(ledger) == "<Accounts teams=1 holds=2 entries=0>"


def test_an_account_with_an_edited_balance_is_not_overdrawn() -> None:
    ledger = Accounts()
    ledger.restore_account(Account("acme", credits_microcredits=10))
    ledger.restore_hold(Hold("h1", "acme", 60, 60.0))
    assert ledger.post("h1", 50, now_s=1.0) is LedgerResult.EXCEEDS_CREDITS
    assert ledger.place("h2", "acme", 1, expires_at_s=9.0, now_s=1.0) == "exceeds_credits"
    assert ledger.void("h1", now_s=1.0) is LedgerResult.CREATED


@pytest.mark.parametrize("break_it", ["held_microcredits", "holds_open"])
def test_check_finds_an_account_that_disagrees_with_its_holds(break_it: str) -> None:
    ledger = Table().run("account acme created").ledger
    setattr(ledger.account("acme"), break_it, 1)
    with pytest.raises(AssertionError, match="acme"):
        ledger.check()


@pytest.mark.parametrize("seed", range(20))
def test_random_operations_keep_the_books(seed: int) -> None:
    """Duplicates, late and early resolves, in any order: `Table` checks after each line."""
    rng = random.Random(seed)
    table = Table().run("account t0 created\naccount t1 created\naccount t2 exempt created")
    ledger, results = table.ledger, set()
    for step in range(400):
        hold_id, team = f"h{rng.randrange(60)}", f"t{rng.randrange(4)}"
        amount = rng.choice([0, 1, 50, rng.randrange(500), -1])
        match rng.randrange(8):
            case 0:
                results.add(ledger.grant(f"g{rng.randrange(40)}", team, amount, now_s=table.now_s))
            case 1 | 2:
                expires_at_s = table.now_s + rng.randrange(30)
                results.add(
                    ledger.place(
                        hold_id, team, amount, expires_at_s=expires_at_s, now_s=table.now_s
                    )
                )
            case 3:
                results.add(ledger.post(hold_id, amount, now_s=table.now_s))
            case 4:
                results.add(ledger.void(hold_id, now_s=table.now_s))
            case 5:
                results.add(ledger.expire(hold_id, now_s=table.now_s))
            case 6:
                results.add(ledger.extend(hold_id, 2 * amount, now_s=table.now_s))
            case 7:
                table.now_s += rng.random()
        table._check(f"seed {seed} step {step}")
    assert LedgerResult.CREATED in results and LedgerResult.EXISTS in results
