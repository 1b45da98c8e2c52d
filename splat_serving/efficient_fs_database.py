"""The guide's name for its Python database; it is in `guide/`."""

from splat_serving.guide.efficient_fs_database import EfficientFSDatabase as EfficientFSDatabase
from splat_serving.guide.efficient_fs_database import FeatureStats as FeatureStats
from splat_serving.guide.efficient_fs_database import FeatureSummary as FeatureSummary
from splat_serving.guide.efficient_fs_database import WeaponCount as WeaponCount
