"""What a trial is made of: data, augmentation, network, arms, weights, schedule.

Sources, as docstrings here name them:
[SB] McDonnell, Mostafa, Wang, van Schaik, 2019, Single-bit-per-weight deep convolutional neural networks
     without batch-normalization layers for embedded systems, arXiv 1907.06916.
[WR] McDonnell, ICLR 2018, Training wide residual networks for deployment using a single bit for each
     weight, arXiv 1802.08530.
"""
