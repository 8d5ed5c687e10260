"""The features, in the order of the API document."""

from service.features.augmentation.feature import AUGMENTATION
from service.features.faces.feature import FACES
from service.features.processing.feature import PROCESSING
from service.features.questions.feature import QUESTIONS
from service.features.recordings.feature import RECORDINGS
from service.features.renditions.feature import RENDITIONS

FEATURES = (FACES, AUGMENTATION, PROCESSING, QUESTIONS, RECORDINGS, RENDITIONS)
