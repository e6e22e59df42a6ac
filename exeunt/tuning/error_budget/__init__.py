"""The `budget` tuner: error budgets keep the promise, everything else saves latency within it.

The promise (docs/promise.md) rests on two files:

    class_budget.py     the error budget of one class of service: what it has earned, lost, and still waits for
    error_budget.py     the budgets of all classes, and the room that they share

The others only decide how much latency is saved:

    budget_tuner.py     the tuner: decides rows by the newest retune result, books them, hands out jobs
    rule.py             the rule that decides a row: the risk of its vote against a cut, which depends on what is left
                        of the budget; while many losses were found of late, the cuts are lower
    retuning.py         one job: from a window of feedback to a retune result
    calibrator.py       risk of an exit's vote by confidence and label (logistic, then isotonic regression)
    exit_path.py        the path: sets of cuts on the risk from "nobody leaves" to "everybody", each best for its loss
    spending.py         the plan: how far along the path to be, by what is left of the budget
    exit_choice.py      which exits to offer at all, by replaying the window
"""
