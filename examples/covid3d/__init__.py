"""COVID-19 lesion segmentation in 3D chest CT with a noisy teacher and reweighted students.

``python -m examples.covid3d run`` reproduces, small, the pipeline of Hussain et al., "Active Deep
Learning from a Noisy Teacher for Semi-supervised 3D Image Segmentation": a teacher learns from a
few expert-annotated scans, labels the scans that have no annotation, and a student learns from
those pseudo-labels, every sample weighted at every step by :class:`reweight.MetaReweighter`.
"""
