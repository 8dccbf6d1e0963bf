"""Small synthetic chest CTs in Hounsfield units, so that the pipeline runs with no download.

``anatomy`` draws the chest, ``lesions`` the disease, ``scanner`` what a scanner makes of them, and
``cohort`` a set of patients of two hospitals.
"""
