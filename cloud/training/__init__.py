"""PEEL's training, stage by stage: interactions in, a trained model out."""
