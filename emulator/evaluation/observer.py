"""The progress of an evaluation."""


class EvaluationObserver:
    """Receives the progress of an evaluation; this one shows nothing."""

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Receive a step of training, with one job only."""

    def on_models(self, done: int, total: int) -> None:
        """Receive the number of seeds whose models are trained, and the number of all."""

    def on_measured(self, done: int, total: int) -> None:
        """Receive the number of policies that are measured, for each seed, and the number of all."""
