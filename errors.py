"""The errors a user can mend; the command line shows each as one line and exits with status 2."""


class BranchfoldError(Exception):
    """An error a user can mend, shown as one line."""


class NetworkError(BranchfoldError):
    """A network that cannot be built, loaded, traced or matched with its checkpoint."""


class DataError(BranchfoldError):
    """A data set that is missing, unreadable or unknown."""


class ScheduleError(BranchfoldError):
    """An α schedule that does not exist or whose parameters are out of range."""


class StudyError(BranchfoldError):
    """A study whose definition, database or state does not allow what was asked."""
