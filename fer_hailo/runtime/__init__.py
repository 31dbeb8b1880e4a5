"""What runs on the board: faces, predictors, video. Nothing here imports training code."""
