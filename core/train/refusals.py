"""What the trainer refuses to do. These messages speak to people and never quote a row."""


class Refused(RuntimeError):
    """The base: what was found, where, and what to do next."""

    for_people = True  # the message may be shown and kept


class PackingUnsafe(Refused):
    """No way of attention keeps the packed rows of this model apart."""


class CheckpointDamaged(Refused):
    """A verified resume point does not fit this model."""


class CheckpointDiffers(Refused):
    """A resume point is not the state of the instant it is of."""


class NothingToResume(Refused):
    """No resume point that the log allows is intact."""


class WeightsDamaged(Refused):
    """The version that a run begins with is damaged or gone: no other file could be trained either."""


class PlanDiffers(Refused):
    """The batches of the file are not those that the run was started with."""


class CannotRecompute(Refused):
    """This kind of model has no gradient checkpointing."""


class MemoryTooSmall(Refused):
    """Not even the least that the run needs is there."""


class BaseMissing(Refused):
    """The base model's files are not there, or no longer what they were."""


class Unreproducible(Refused):
    """Something that a version was made of is gone or changed, so it cannot be made again."""


class DeviceGone(Refused):
    """The model was trained on a GPU, and there is none any more."""


class SaveGivenUp(Refused):
    """There was no space for a resume point until the process was told to end."""


class NonFinite(Refused):
    """Loss or gradient was not finite in several steps in a row."""


class DoesNotFit(Refused):
    """A step takes more memory than there is, however small its parts."""
