"""Statistics of builds: the space of gear, tables of builds, dose curves, edits."""
