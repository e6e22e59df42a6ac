from exeunt.gateway.fastest import REMEMBERED_US, TRIAL_EVERY_US, FastestAnswers


def test_nothing_is_hopeless_before_anything_is_known():
    assert FastestAnswers().least_us(1, 0) == 0


def test_half_of_the_quickest_answer_counts():
    fastest = FastestAnswers()
    for took_us in (9000, 4000, 7000):
        fastest.note(1, took_us, 0)
    assert fastest.least_us(1, 10) == 2000


def test_answers_to_more_rows_say_nothing_about_fewer():
    fastest = FastestAnswers()
    fastest.note(64, 50_000, 0)
    assert fastest.least_us(8, 10) == 0 and fastest.least_us(64, 10) == 25_000


def test_what_was_quick_or_slow_long_ago_is_forgotten():
    fastest = FastestAnswers()
    fastest.note(1, 50_000, 0)
    assert fastest.least_us(1, REMEMBERED_US) == 25_000
    assert fastest.least_us(1, REMEMBERED_US + 1) == 0


def test_a_trial_is_made_now_and_then():
    fastest = FastestAnswers()
    tried = [now_us for now_us in range(0, 10 * TRIAL_EVERY_US, 1000) if fastest.is_trial(now_us)]
    assert tried == list(range(0, 10 * TRIAL_EVERY_US, TRIAL_EVERY_US))
