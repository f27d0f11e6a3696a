"""The models that pretraining can learn: interactions in, a user table and an item table out."""
