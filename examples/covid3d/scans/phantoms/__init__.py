"""Small synthetic chest CTs in Hounsfield units, so that the pipeline runs with no download.

``anatomy`` draws the chest, ``lesions`` the disease, ``scanner`` what a scanner makes of them,
``kinds`` says which scans are sound and which a teacher fails on, and ``cohort`` whose they are.
"""
