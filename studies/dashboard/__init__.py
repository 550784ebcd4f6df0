"""optuna-dashboard on a study database: notes and figures that runs keep up to date, and the server."""
