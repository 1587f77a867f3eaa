"""Images for networks: encoders, pre-trained weights, pixels. The only part that imports torchvision.

``pip install hmc-shared[images]`` brings it.
"""
