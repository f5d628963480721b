"""What is said of an epoch, on real trainings; tests/tui/test_alerts.py has what is seen of it."""

from training import digits_run, train

from tlui.runs.history import load
from tlui.trainer.overfit import rise

FEW = {
    "source": "digits",
    "image_size": 16,
    "classes": ["0", "1", "2"],
    "validation": 0.9,
    "test": 0.05,
}


def test_batchnorm_that_settles_is_not_taken_for_overfitting(home):
    """From scratch at a high rate val_loss climbs tenfold while the moving statistics follow (29
    steps, one an epoch), then falls below where it began."""
    lr = {"policy": "constant", "initial": 1e-2}
    phase = [{"freeze": "none", "epochs": 36, "lr": lr}]
    run = digits_run(home, dataset=FEW, train={"batch_size": 32}, phase=phase)
    assert train(run).state == "finished"
    history = load(run)
    fit, val = [[row[f"{split}_loss"] for row in history.epochs] for split in ("train", "val")]
    assert max(val) > 10 * val[0] > 10 * val[-1]
    assert any(rise(fit[:n], val[:n]) for n in range(len(val)))  # the curve alone would say so
    assert not history.alerts
